"""Pictures of the sweeps, as SVG that reads on light and on dark pages alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from benchmarks import ways
from benchmarks.figures import spread
from benchmarks.results import Results
from benchmarks.runs import Result
from benchmarks.sweeps import Sweep

_GREY = "#808890"
_COLOURS = {
    ways.DROP: "#999999",
    ways.BARE: "#808890",
    ways.OURS: "#e0562f",
    ways.UNCACHED: "#e79f3c",
    ways.OPEN: "#d9896f",
    ways.STATELESS: "#c77dbb",
    ways.TAIL_CALLS: "#4f9d69",
    ways.POLYCUBE: "#2a9d9d",
    ways.FIB: "#3f8fd2",
    ways.LINUX: "#7a7fd6",
    ways.BRIDGE: "#5b6fb5",
    ways.NFTABLES: "#a56fc4",
    ways.MASQUERADE: "#c85a8f",
    ways.SOURCE_NAT: "#c85a8f",
    ways.NFT_STATELESS: "#b08a5b",
}
_STYLES = ("-", "--", ":")
_SIZE = (7.2, 3.8)  # inches

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nfv",
    "font.size": 9,
    "text.color": _GREY,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "grid.color": _GREY,
    "grid.alpha": 0.3,
}


def draw(results: Results, directory: Path) -> list[str]:
    """Write a picture of every sweep with samples; return the names of those sweeps."""
    directory.mkdir(exist_ok=True)
    drawn = []
    for sweep in results.sweeps:
        found = [result for result in results.of(sweep.name) if result.samples]
        if not found:
            continue
        with mpl.rc_context(_SETTINGS):
            canvas = Canvas(figsize=_SIZE, layout="constrained")
            axes = canvas.subplots()
            several = len({result.point for result in found}) > 1
            (_lines if several else _bars)(axes, results, sweep, found)
            axes.set_title(f"{sweep.title}: {sweep.held}", fontsize=9)
            canvas.savefig(
                directory / f"{sweep.name}.svg", transparent=True, metadata={"Date": None}
            )
        drawn.append(sweep.name)
    return drawn


def _lines(axes: Axes, results: Results, sweep: Sweep, found: list[Result]) -> None:
    """A line for each way and traffic, from point to point."""
    points = [point.label for point in sweep.points]
    kinds = list(dict.fromkeys(result.traffic for result in found))
    for way in dict.fromkeys(result.way for result in found):
        for kind in kinds:
            line = [r for r in found if r.way == way and r.traffic == kind]
            shares = [(r.point, share) for r in line if (share := results.against(r))]
            if not shares or way == ways.BARE:
                continue
            label = way if len(kinds) == 1 else f"{way}, {kind}"
            axes.errorbar(
                [points.index(point) for point, _ in shares],
                [share.median for _, share in shares],
                yerr=[
                    [share.median - share.low for _, share in shares],
                    [share.high - share.median for _, share in shares],
                ],
                label=label,
                color=_COLOURS[way],
                linestyle=_STYLES[kinds.index(kind) % len(_STYLES)],
                marker="o",
                markersize=3.5,
                capsize=2,
            )
    axes.axhline(1, color=_GREY, linewidth=0.8)
    axes.set_xticks(range(len(points)), points)
    axes.set_xlabel(sweep.axis)
    axes.set_ylabel("packet rate, bare redirect = 1")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)


def _bars(axes: Axes, results: Results, sweep: Sweep, found: list[Result]) -> None:
    """Nanoseconds a packet, a bar for each way; of the first traffic."""
    shown = [result for result in found if result.traffic == found[0].traffic]
    values = [1e9 / spread([s.rate for s in result.samples]).median for result in shown]
    names = [result.way for result in shown]
    bars = axes.barh(names, values, color=[_COLOURS[name] for name in names])
    labels = []
    for result, value in zip(shown, values, strict=True):
        share = results.against(result)
        labels.append(f"{value:.0f} ns" + (f" ({share.median:.2f})" if share else ""))
    axes.bar_label(bars, labels, padding=3, color=_GREY, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel(f"nanoseconds a packet, {found[0].traffic} (packet rate, bare redirect = 1)")
