"""What `bioplaus new` writes: small, complete packages; $name, $module and $class are filled in."""
