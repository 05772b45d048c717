#!/usr/bin/env python3
"""Makes the tables of docs/performance.md from reports of the benchmark, so that no figure is typed by hand.

    cargo bench --bench ipc --features tokio -- --seconds 300 --restarts 8 --json $PWD/run.json --html $PWD/run.html
    cargo run --release --manifest-path benches/peers/Cargo.toml -- --json $PWD/peers.json --html $PWD/peers.html
    scripts/figures.py run.json --html run.html --peers peers.json --peers-html peers.html
    scripts/figures.py run.json --print

The first two measure. The third writes the tables and plots to docs/performance.md, the fourth prints the tables and changes
nothing. The first chart and table of docs/performance.md are copied from peers.html.

A table stands between the lines `<!-- figures: NAME -->` and `<!-- end of figures -->`; those whose report is not given
are left as they are. Where slices counted both near and far, a cell has both. A cell is empty where nothing was measured,
and has a ? where fewer than ten slices count.
"""

import argparse
import html.parser
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
PLOTS = PAGE.parent / "plots"
# Which plots of a run's page are kept, by the heading that they stand under there.
KEPT_PLOTS = {
    "Throughput over the size of a record": "throughput",
    "Ratio to the ceiling over the size of a record": "ratio",
    "Distribution: round trip of 56 B, both spinning": "round-trip",
}
# What the page of a run begins with: a chart, and a table of a dozen lines.
SUMMARY = "fdring, its ceiling, and the best of the others"
BEGIN, END = "<!-- figures: {} -->", "<!-- end of figures -->"
# Fewer slices than this are no figure to rely on; a distance with a smaller share of all than this is left out.
SLICES_MIN = 10
SHARE_MIN = 0.02
LENGTHS = [8, 56, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20]
PEER_LENGTHS = [8, 64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 4 << 20]
# From this length on, in bytes, records are told in GB/s.
GIGABYTES_FROM = 16 << 10

ONE_WAY = [
    ("raw ring, batches of 32", "raw ring, batches of 32"),
    ("raw ring, batches of 32, its receiver stepping back", "raw ring, batches of 32, held"),
    ("the same, copied out by memcpy", "raw ring, batches of 32, copied"),
    ("raw ring, each published", "raw ring, each"),
    ("raw ring, each published, its receiver stepping back", "raw ring, each, held"),
    ("raw slots, each published, that say themselves that they are full", "raw slots, each, no position"),
    ("raw ring, each published, copied into its slot by memcpy", "raw ring, each sent by memcpy"),
    ("the same by streaming stores", "raw ring, each sent by streaming stores"),
    ("raw ring, each published, each with a header on a line of its own", "raw ring, each with a header"),
    ("raw ring, each published, with the fence of a wake-up protocol", "raw ring, each fenced"),
    ("raw ring, runs of 128 claimed and drained", "raw ring, runs of 128 claimed and drained"),
    ("fdring, batches of 32, in place", "fdring batches of 32, in place"),
    ("fdring, the same in runs (`receive_many`)", "fdring batches of 32, in place in runs"),
    ("fdring, filled by `fill_many`, read in runs", "fdring batches of 32 by fill_many, in place in runs"),
    ("fdring, the same by a loop of `try_receive_many`", "fdring batches of 32 by fill_many, in place by try_receive_many"),
    ("fdring, batches of 32 with `payload_align` 64, in runs", "fdring batches of 32, in place in runs, payload_align 64"),
    ("fdring, slices of 32 in one record, in place", "fdring slices of 32, in place"),
    ("fdring, each reserved and committed, in place", "fdring reserve, in place"),
    ("fdring, the same by a loop of `try_receive`", "fdring reserve, in place by try_receive"),
    ("fdring, each reserved, received in a task of tokio", "fdring reserve, in place in a task"),
    ("fdring, batches of 32, in runs in a task of tokio", "fdring batches of 32, in place in runs in a task"),
    ("fdring, each reserved, `payload_align` 64, in place", "fdring reserve, in place, payload_align 64"),
    ("fdring, each sent, in place", "fdring send, in place"),
    ("fdring, batches of 32, copied out in runs", "fdring batches of 32, copied in runs"),
    ("fdring, each sent, copied out", "fdring send, copied"),
    ("rtrb in chunks of 32, between two threads", "rtrb in chunks of 32, in-process"),
    ("pipe", "pipe, blocking"),
    ("Unix stream", "Unix stream, blocking"),
    ("Unix seqpacket", "Unix seqpacket, blocking"),
]
TRIPS = [
    ("cache line", "cache line"),
    ("raw slots that say themselves that they are full", "raw slots, no position"),
    ("raw ring", "raw ring"),
    ("fdring, in place", "fdring in place"),
    ("fdring, copied out", "fdring copied"),
    ("fdring, in place, by a loop of `try_receive`", "fdring in place by try_receive"),
    ("fdring, call and reply", "fdring call and reply"),
    ("rtrb, between two threads", "rtrb, in-process"),
    ("pipe", "pipe"),
    ("Unix stream", "Unix stream"),
    ("Unix seqpacket", "Unix seqpacket"),
]


def bytes_name(count):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count // unit} {name}"
    return f"{count} B"


def short(value):
    """Three digits, with a separator of thousands from 10,000 on."""
    if value >= 9_999.5:
        return f"{round(value, -2 if value < 99_950 else -3):,.0f}"
    for least, digits in ((99.95, 0), (9.995, 1), (0.9995, 2)):
        if value >= least:
            return f"{value:.{digits}f}"
    return f"{value:.3f}"


def table(heading, rows):
    rows = [row for row in rows if any(row[1:])]
    if not rows:
        return ""
    lines = [heading, ["---"] + ["---:"] * (len(heading) - 1), *rows]
    return "".join("|" + "".join(f" {cell} |" if cell else " |" for cell in line) + "\n" for line in lines)


class Report:
    def __init__(self, path):
        try:
            self.report = json.loads(pathlib.Path(path).read_text())
        except (OSError, ValueError) as error:
            sys.exit(f"{path} cannot be read as a report: {error}")
        if self.report.get("schema") != 3:
            sys.exit(f"{path} is no report of this benchmark: `--json PATH` writes one, of form 3")
        self.rows = self.report["figures"]
        kept = self.report["slices"]["kept"]
        self.distances = [name for name, count in zip(("near", "far"), kept) if count > SHARE_MIN * sum(kept)]

    def cell(self, wanted, show):
        """What is shown of the row that `wanted` says, at each distance that counts."""
        cells = []
        for distance in self.distances:
            row = next((row for row in self.rows if row["distance"] == distance and wanted(row)), None)
            value = None if row is None else show(row)
            mark = "?" if row and row["slices"] < SLICES_MIN else ""
            cells.append("" if value is None else short(value) + mark)
        return " / ".join(cells) if any(cells) else ""

    def machine(self):
        report, machine = self.report, self.report["machine"]
        virtual = "a virtual machine" if machine["is_virtual"] else "no hypervisor seen"
        tally, kept = report["slices"], report["slices"]["kept"]
        if report["far_from_ns"] is None:
            line = f"{report['probe_ns']:.0f} ns" if report["probe_ns"] else "an unknown time"
            distances = f"a cache line takes {line} there and back, at one distance"
        else:
            distances = f"{kept[0]} slices are near, where a cache line takes less than {report['far_from_ns']:.0f} ns "
            distances += f"there and back, and {kept[1]} far"
        away = sum(tally[name] for name in ("moved", "preempted", "delayed"))
        words = (
            f"One run of {report['seconds']:.0f} seconds with {report['restarts']} restarts, of the commit "
            f"{report['commit'][:12]}: {machine['processor']}, {machine['kernel']}, {virtual}, processors "
            f"{machine['cores'][0]} and {machine['cores'][1]} of {machine['usable_processors']}, caches "
            f"{machine['caches']}, net.unix.max_dgram_qlen {machine.get('max_dgram_qlen', 'unknown')}, load "
            f"{machine['load']} at the start. {sum(kept)} slices count, {away} were thrown away; {distances}."
        )
        words = [words, *(f"The run warns: {warning}." for warning in report["warnings"] if "left out" not in warning)]
        return wrapped(" ".join(words))


def wrapped(text):
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= 118:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines) + "\n"


def rate(length):
    """Million records a second, or GB/s."""
    return lambda row: (length if length >= GIGABYTES_FROM else 1e3) / row["ns_median"]


def percentile(share):
    def show(row):
        if share == 50:
            return row["ns_median"]
        return next((ns for each, ns in row["percentiles"] if each == share), None)

    return show


def of(key, form, **more):
    names = {"measure_key": key, "form": form, **more}
    return lambda row: all(row[name] == value for name, value in names.items())


def one_way(report):
    def cells(form):
        return [report.cell(of("one-way", form, payload_bytes=length), rate(length)) for length in LENGTHS]

    rows = [[label, *cells(form)] for label, form in ONE_WAY]
    return table(["payload", *map(bytes_name, LENGTHS)], rows)


def trips(report):
    shares = (50, 90, 99, 99.9)

    def cells(form):
        longest = report.cell(of("round-trip", form, payload_bytes=56), lambda row: row["ns_max"])
        return [*(report.cell(of("round-trip", form, payload_bytes=56), percentile(share)) for share in shares), longest]

    rows = [[label, *cells(form)] for label, form in TRIPS]
    return table(["56 B, ns", *(f"p{share}" for share in shares), "max"], rows)


def long_trips(report):
    rows = [
        [label, *(report.cell(of("round-trip", form, payload_bytes=length), percentile(50)) for length in (4096, 65536))]
        for label, form in TRIPS
    ]
    return table(["p50, ns", "4 KiB", "64 KiB"], rows)


def load(report):
    measures = list(dict.fromkeys(row["measure"] for row in report.rows if row["measure_key"] == "load"))
    forms = list(dict.fromkeys(row["form"] for row in report.rows if row["measure_key"] == "load"))
    rows = [
        [form, *(report.cell(of("load", form, measure=measure), percentile(50)) for measure in measures)] for form in forms
    ]
    return table(["56 B, p50, ns", *(measure.split(", ", 2)[2] for measure in measures)], rows)


def all_forms(report, keys, heading, show, **more):
    """Every form of these measures, a row each, with what it brings and its ratio to the ceiling."""
    rows = []
    rows_of_keys = [row for row in report.rows if row["measure_key"] in keys]
    for measure, form in dict.fromkeys((row["measure"], row["form"]) for row in rows_of_keys):
        wanted = [of(key, form, measure=measure, **more) for key in keys]
        is_wanted = lambda row, wanted=wanted: any(each(row) for each in wanted)
        ceiling = report.cell(is_wanted, lambda row: row["ratio_to_ceiling"])
        name = f"{measure}: {form}" if len(measures(report, keys)) > 1 else form
        rows.append([name, report.cell(is_wanted, show), ceiling])
    return table([heading[0], heading[1], "ceil"], rows)


def measures(report, keys):
    return {row["measure"] for row in report.rows if row["measure_key"] in keys}


def ns(row):
    return row["ns_median"]


def descriptors(report):
    counts = list(dict.fromkeys(row["measure"] for row in report.rows if row["measure_key"] == "descriptors"))
    number = {measure: int(measure.split()[1]) for measure in counts}
    forms = list(dict.fromkeys(row["form"] for row in report.rows if row["measure_key"] == "descriptors"))
    rows = [
        [form, *(report.cell(of("descriptors", form, measure=measure), lambda row: number[row["measure"]] * 1e3 / ns(row))
                 for measure in counts)]
        for form in forms
    ]
    return table(["M descriptors/s, by how many a message", *(str(number[measure]) for measure in counts)], rows)


def counts(report):
    def value(count):
        return f"{short(count['value']) if count['value'] else '0'} {count['unit']}"

    return table(["counted", ""], [[count["what"], value(count)] for count in report.report["counts"]])


def targets(report):
    """What fdring is to reach and does not, or what is not decided."""
    def cell(target, distance):
        value, judged = target[distance], target[f"{distance}_is"]
        return "" if value is None or judged is None else f"{'−' if value < 0 else ''}{short(abs(value))} {judged}"

    def forms(target):
        # Reports of earlier commits do not say which forms were compared.
        told = [(distance, target.get(f"{distance}_forms")) for distance in report.distances]
        return "; ".join(f"{distance}: {forms}" for distance, forms in told if forms)

    rows = []
    for target in report.report["targets"]:
        cells = [cell(target, distance) for distance in report.distances]
        if not all(each.endswith(" reached") or not each for each in cells):
            rows.append([target["what"], target["goal"], *cells, forms(target)])
    return table(["not reached", "goal", *report.distances, "the forms, and what they are compared with"], rows)


def is_call(row):
    """Whether it is a request and its answer, and more than a record there and back."""
    return row["form"] == "fdring call and reply" or "request" in row["form"]


def library(row):
    """Whose row it is, as the table of libraries has it; none for what is left out there."""
    slices = row["form"].startswith("fdring slices") or "runs of 128" in row["form"]
    if slices or is_call(row) or row["contender"] in ("futex", "eventfd", "plain") or row["form"] == "cache line":
        return None
    name = row["contender"].split(",")[0]
    return "fdring, records of one value" if name == "fdring" else name


def peers(report):
    """Each library at its best."""
    names = list(dict.fromkeys(name for name in map(library, report.rows) if name))
    names.sort(key=lambda name: (not name.startswith("fdring"), name != "raw ring"))

    def best(name, measure, length, show, better):
        def of_distance(distance):
            rows = (row for row in report.rows if library(row) == name and row["measure_key"] == measure)
            rows = (row for row in rows if row["payload_bytes"] == length and row["distance"] == distance)
            values = [value for value in (show(row) for row in rows if row["slices"] >= SLICES_MIN) if value is not None]
            return short(better(values)) if values else ""

        cells = [of_distance(distance) for distance in report.distances]
        return " / ".join(cells) if any(cells) else ""

    def cells(name):
        one_way = [
            best(name, "one-way", length, lambda row: (length if length >= 64 << 10 else 1e3) / row["ns_median"], max)
            for length in PEER_LENGTHS
        ]
        return one_way + [best(name, "round-trip", 56, percentile(share), min) for share in (50, 90, 99)]

    rows = [[name, *cells(name)] for name in names]
    return table(["", *map(bytes_name, PEER_LENGTHS), "round trip p50", "p90", "p99"], rows)


def calls(report):
    """Calls of fdring and of the libraries that have them, with the plain round trip of each."""
    trips = {row["form"]: row for row in report.rows if row["measure_key"] == "round-trip" and row["payload_bytes"] == 56}
    callers = {row["contender"].split(",")[0] for row in trips.values() if is_call(row)}
    forms = [form for form, row in trips.items() if row["contender"].split(",")[0] in callers]
    forms.sort(key=lambda form: not is_call(trips[form]))

    def cells(form):
        row = of("round-trip", form, payload_bytes=56)
        return [report.cell(row, percentile(share)) for share in (50, 90, 99, 99.9)]

    rows = [[form, *cells(form)] for form in forms]
    return table(["56 B, ns", "p50", "p90", "p99", "p99.9"], rows)


def peers_shapes(report):
    """Other libraries in the measures of more ends than two, of sleepers, and of connecting, with fdring."""
    keys = ["asleep", "wake-up", "connect", "producers-cost", "consumers", "lanes", "fan-in", "workers"]
    return all_forms(report, keys, ["p50 or a record", "ns"], ns)


OWN = {
    "machine": Report.machine,
    "one way": one_way,
    "round trips": trips,
    "long round trips": long_trips,
    "load": load,
    "asleep": lambda report: all_forms(report, ["asleep", "asleep-one-core", "wake-up", "connect", "life"], ["p50", "ns"], ns),
    "several": lambda report: all_forms(report, ["producers-cost", "taps", "consumers", "lanes"], ["a record", "ns"], ns),
    "shapes": lambda report: all_forms(report, ["fan-in", "workers"], ["a record", "ns"], ns),
    "descriptors": descriptors,
    "counts": counts,
    "targets": targets,
}
PEERS = {"machine of peers": Report.machine, "peers": peers, "calls of peers": calls, "peers' shapes": peers_shapes}


class Cells(html.parser.HTMLParser):
    """The texts of a table's cells, row by row."""

    def __init__(self, text):
        super().__init__()
        self.rows = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, text):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += text


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error}")


def summary(path):
    """The chart that the page of a run begins with, and the table beside it."""
    page = read(path)
    part = re.search(f"<h2>{re.escape(SUMMARY)}</h2>.*?(<svg.*?</svg>).*?(<table.*?</table>)", page, re.DOTALL)
    if not part:
        sys.exit(f"{path} has no chart and no table under “{SUMMARY}”")
    (_, *distances), columns, *lines = Cells(part[2]).rows
    span = (len(columns) - 1) // len(distances)
    near_and_far = [distance.split(",")[0].removeprefix("cores ") for distance in distances for _ in range(span)]
    heading = ["", *(f"{distance}: {column}" for distance, column in zip(near_and_far, columns[1:]))]
    return part[1], table(heading, [[cell.strip() for cell in line] for line in lines])


def write_plots(path):
    """Writes the plots that are kept: under each heading the near one comes first, then the far one."""
    page = read(path)
    for heading, name in KEPT_PLOTS.items():
        part = re.search(f"<h2>{re.escape(heading)}</h2>(.*?)(?:<h2>|$)", page, re.DOTALL)
        plots = re.findall("<svg.*?</svg>", part[1], re.DOTALL) if part else []
        if len(plots) != 2:
            sys.exit(f"{path} has {len(plots)} plots under “{heading}”, not one near and one far")
        for distance, plot in zip(("near", "far"), plots):
            (PLOTS / f"{name}-{distance}.svg").write_text(plot + "\n")


def replaced(page, name, text):
    """The page with another table of that name; as it is where it has none."""
    begin = BEGIN.format(name) + "\n"
    start = page.find(begin)
    if start == -1:
        return page
    end = page.find(END, start)
    if end == -1:
        sys.exit(f"docs/performance.md: the table “{name}” has no end: {END}")
    return page[: start + len(begin)] + "\n" + text + "\n" + page[end:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", help="what `cargo bench --bench ipc -- --json PATH` has written")
    parser.add_argument("--peers", help="what benches/peers has written")
    parser.add_argument("--peers-html", help="what the same run wrote by `--html PATH`: what the page begins with")
    parser.add_argument("--html", help="what the same run wrote by `--html PATH`: its plots replace those of the page")
    parser.add_argument("--print", action="store_true", help="print all tables, and change nothing")
    options = parser.parse_args()
    if options.peers_html and not options.peers:
        parser.error("--peers-html is of the same run as --peers: give both")
    own = Report(options.report)
    if not own.report["arguments"] or "--contender" not in own.report["arguments"]:
        forms = {row["form"] for row in own.rows}
        for _, form in ONE_WAY + TRIPS:
            if form not in forms:
                print(f"note: nothing in the report is called “{form}”", file=sys.stderr)
    tables = {name: make(own) for name, make in OWN.items()}
    if options.peers:
        others = Report(options.peers)
        tables |= {name: make(others) for name, make in PEERS.items()}
    chart = None
    if options.peers_html:
        chart, tables["summary"] = summary(options.peers_html)
    if options.print:
        print("\n".join(f"{BEGIN.format(name)}\n\n{text}\n{END}\n" for name, text in tables.items()))
        return
    before = page = PAGE.read_text()
    for name, text in tables.items():
        if not text and BEGIN.format(name) in page:
            print(f"nothing was measured for “{name}”: it is left as it is")
            continue
        page = replaced(page, name, text)
    PAGE.write_text(page)
    if options.html:
        write_plots(options.html)
    if chart:
        (PLOTS / "summary.svg").write_text(chart + "\n")
    print(f"docs/performance.md has {'changed' if page != before else 'not changed'}")


if __name__ == "__main__":
    main()
