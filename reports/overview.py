"""The first table of the page: every rule over all tasks, and the papers behind them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bioplaus.analysis.boards import Board
from bioplaus.analysis.field import Field
from bioplaus.analysis.statistics import Difference
from bioplaus.errors import printable
from bioplaus.records.metric import Metric
from bioplaus.records.refusals import Refusal
from bioplaus.records.schema import RuleCard

from .cell_measures import MISSING
from .html_tables import Column, Line, Table, TableCell, places
from .profiles import Profile
from .standing import Standings, times


def overview_table(
    boards: Sequence[Board],
    whole: Field,
    found: Standings,
    profiles: Mapping[str, Profile],
    refusals: Sequence[Refusal] = (),
) -> Table:
    """Every rule, ranked within what it can train; who has no place stands last."""
    placed = {o.rule: o for o in found.placed}
    ref, metric = found.reference, whole.metric
    columns = [
        Column("Rank", "the places that it may have over the tasks it trains, all at once with "
               "95 %", out=("rank_first", "rank_last")),
        Column("Rule", number=False, out=("rule", "badge")),
    ]  # fmt: skip
    if ref:
        columns += [
            Column(f"{'Points' if metric.unit else metric.words.capitalize()} above {ref}",
                   f"difference of test {metric.plural} over the tasks both have, and its 95 % "
                   "interval", out=("difference", "difference_low", "difference_high")),
            Column("p", "that the two differ by nothing, adjusted for all pairs of rules (Holm)",
                   out=("p_adjusted",)),
        ]  # fmt: skip
        if found.cost:
            columns.append(Column("Cost", f"{found.cost_of}, times {ref}'s", out=("cost_ratio",)))
    why = {(r.task, r.rule): printable(r.reason) for r in refusals}
    known = any(p.known for p in profiles.values())
    if known:
        columns.append(Column("Plausibility", "properties that ask nothing beyond what neurons "
                              "are known to do, of those known: weight transport, locality, two "
                              "kinds of locking, derivatives, signed errors, auxiliaries",
                              out=("plausible", "of")))  # fmt: skip
    columns.append(Column("Diverged", "seeds that diverged, of all", out=("diverged", "seeds")))
    columns += [
        Column(printable(b.title), f"mean test {metric.words} of the seeds that lived"
               + ", percent" * (metric.unit == "%"), extra=True,
               out=(f"{b.title}: test_{metric.name}",)) for b in boards
    ]  # fmt: skip
    lines = []
    for rule in [*placed, *sorted(whole.cells.keys() - placed.keys())]:
        o, own = placed.get(rule), profiles[rule]
        tasks = len(whole.cells[rule])
        every = len(whole.boards)
        note = "" if tasks == every else f"{tasks} of {every} tasks" if tasks else "no place"
        entries = [places(o.first, o.last) if o else TableCell(MISSING, out=(None, None)),
                   TableCell(rule, note=note, badge=own.badge, out=(rule, own.badge),
                             title=_missing_from(rule, why),
                             link=f"plausibility--{rule}" if own.known else "")]  # fmt: skip
        if ref:
            entries += _against(found, rule, metric)
            if found.cost:
                entries.append(_cost(found, rule))
        if known:
            entries.append(dots(own))
        entries.append(_diverged(boards, rule))
        entries += [_on(board, rule, why) for board in boards]
        lines.append(Line(entries, quiet=o is None, id=f"overview--{rule}"))
    return Table("overview-table", "Rules by tasks", columns, lines)


def _against(found: Standings, rule: str, metric: Metric) -> list[TableCell]:
    if rule == found.reference:
        return [TableCell("0", 0.0, "the reference", out=(0.0, None, None)), TableCell(MISSING)]
    d = found.to_reference.get(rule)
    if d is None:
        return [TableCell(MISSING, out=(None, None, None)), TableCell(MISSING)]
    surely = found.better[rule]
    kind = "difference" + ("" if surely is None else " up" if surely == rule else " down")
    return [
        TableCell(metric.signed(d.value), d.value, _interval(d, metric), kind=kind,
                  out=(d.value, _known(d.low), _known(d.high))),
        TableCell(found.p_words(rule), found.adjusted[rule]),
    ]  # fmt: skip


def _interval(d: Difference, metric: Metric) -> str:
    return "" if math.isnan(d.low) else f"{metric.signed(d.low, 1)} to {metric.signed(d.high, 1)}"


def _cost(found: Standings, rule: str) -> TableCell:
    ratio = 1.0 if rule == found.reference else found.cost.get(rule)
    return TableCell(MISSING) if ratio is None else TableCell(times(ratio), ratio)


def dots(own: Profile) -> TableCell:
    """A dot for each property: filled, a ring, or a gap where nothing is known."""
    if not own.known:
        return TableCell(MISSING, out=(None, None))
    data = tuple(-1.0 if p.value is None else float(p.asks_nothing) for p in own.properties)
    words = "; ".join(
        f"{p.name.replace('_', ' ')}: {p.value}"
        + (f" (declared {p.declared})" if p.contradicted else "")
        for p in own.properties
    )
    odd = any(p.contradicted for p in own.properties)
    return TableCell(f"{own.filled} of {own.known}", own.filled, title=printable(words),
                     kind="dots", data=data, note="\u2260 declared" if odd else "",
                     out=(own.filled, own.known))  # fmt: skip


def _diverged(boards: Sequence[Board], rule: str) -> TableCell:
    cells = [b.entries[rule] for b in boards if rule in b.entries]
    lost, every = sum(len(c.diverged) for c in cells), sum(len(c.records) for c in cells)
    return TableCell(f"{lost} of {every}", lost / every, out=(lost, every))


def _missing_from(rule: str, why: Mapping[tuple[str, str], str]) -> str:
    """The tasks that a rule cannot train, with the reasons, in words."""
    return "; ".join(f"{task}: {reason}" for (task, of), reason in why.items() if of == rule)


def _on(board: Board, rule: str, why: Mapping[tuple[str, str], str]) -> TableCell:
    """A rule's score on a board, marked where nothing beats it and it beats something."""
    cell = board.entries.get(rule)
    if cell is None:
        unknown = "not in these records: it cannot train this, or was not run"
        return TableCell(MISSING, title=why.get((board.task, rule), unknown))
    if cell.estimate is None:
        return TableCell(MISSING, note="diverged" if cell.diverged else "")
    leads = any(s.leads and s.cell is cell for s in board.standings)
    unranked = board.why_not_ranked(cell)
    lost = f"{len(cell.diverged)} of {len(cell.records)} diverged" if cell.diverged else ""
    value = cell.estimate.value
    note = lost or ("not ranked" if unranked else "")
    return TableCell(board.metric.shown(value), value, note, title=unranked,
                     kind="best" if leads else "")  # fmt: skip


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


class Paper(NamedTuple):
    """A rule's source, to link and to cite."""

    rule: str
    words: str
    address: str
    """At arxiv.org or doi.org; "" where its identifier is neither."""
    bibtex: str


def papers(cards: Mapping[str, RuleCard | None]) -> list[Paper]:
    """Of every rule whose card cites one."""
    found = []
    for rule, card in cards.items():
        c = {k: printable(str(v)) for k, v in card.citation.items() if v} if card else {}
        if not c:
            continue
        where = ", ".join(c[k] for k in ("venue", "identifier") if k in c)
        words = f"{c.get('authors', '')} ({c.get('year', '')}). {c.get('title', '')}. {where}"
        found.append(Paper(rule, words.strip(), address(c.get("identifier", "")), _bibtex(rule, c)))
    return found


def address(identifier: str) -> str:
    """Where an arXiv number or DOI leads; "" for anything else."""
    arxiv = re.fullmatch(r"arXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})(v\d+)?", identifier)
    if arxiv:
        return f"https://arxiv.org/abs/{arxiv[1]}"
    doi = re.fullmatch(r"(?:doi:)(10\.\d{4,9}/[A-Za-z0-9._;()/:-]+)", identifier, re.IGNORECASE)
    return f"https://doi.org/{doi[1]}" if doi else ""


def _bibtex(rule: str, c: Mapping[str, str]) -> str:
    identifier = c.get("identifier", "")
    fields = {"author": re.sub(r",? and | et al\.", lambda m: " and others" if "al" in m[0]
                               else " and ", c.get("authors", "").replace(", ", " and ")),
              "title": c.get("title", ""), "year": c.get("year", ""),
              "journal": c.get("venue", "")}  # fmt: skip
    if identifier.lower().startswith("doi:"):
        fields["doi"] = identifier[4:]
    elif identifier:
        fields["eprint"] = identifier.removeprefix("arXiv:")
    lines = ",\n".join(f"  {k} = {{{re.sub(r'[{}]', '', v)}}}" for k, v in fields.items() if v)
    return f"@article{{{rule},\n{lines}\n}}"


def refused(refusals: Sequence[Refusal]) -> list[tuple[str, str, str]]:
    """Rule, tasks and reason; tasks that a rule refuses for one reason stand together."""
    together: dict[tuple[str, str], list[str]] = {}
    for task, rule, reason in sorted(refusals):
        together.setdefault((rule, printable(reason)), []).append(task)
    return [(rule, ", ".join(tasks), reason) for (rule, reason), tasks in sorted(together.items())]
