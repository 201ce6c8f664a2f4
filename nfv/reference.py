"""Writes the reference documentation from what it is about: models, C sources, examples.

`python -m nfv.reference docs` writes docs/functions/NAME.md for every type of function, and fills
in the other pages of docs/ what stands between `<!-- begin X -->` and `<!-- end X -->`, X being
"keys MODEL" for a definition of the JSON Schema, or "reasons".
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from nfv import functions
from nfv.chain import include
from nfv.chain.schema import schema
from nfv.ebpf import sources

_EXAMPLES = Path(__file__).parent.parent / "topologies"
_BLOCK = re.compile(r"(<!-- begin (.+?) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
_REFERENCE = re.compile(r"#/\$defs/(\w+)")
_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)
_HEADING_COMMENT = re.compile(r"\A/\* SPDX.*?\*/\n/\*(.*?)\*/", re.DOTALL)
_REASON = re.compile(r"\bNF_REASON_(\w+)\b")
_RFC = re.compile(r"\bRFC (\d+)(?:,? sections? ([\d.]*\d))?")

_Schema = Mapping[str, Any]


def page(name: str) -> str:
    """The page of a type of function."""
    function = functions.find(name)
    module = inspect.getmodule(function)
    assert module is not None
    texts = _c_texts(name)
    parts = [
        f"# {name}",
        f"<!-- Written by nfv.reference from {name}.py and {name}.c: change those. -->",
        inspect.cleandoc(module.__doc__ or ""),
        "## On the fast path",
        _comment(texts[f"functions/{name}.c"]),
        "## Keys",
        *_keys_with_parts(function.Config.__name__),
        *_example(name),
        "## Where packets end",
        "Reasons that the function gives, as `nfvctl stats` shows them; the word is their name "
        "in JSON and YAML.",
        _reason_table(_REASON.findall("\n".join(texts.values()))),
        *_sizes(module),
        "## Standards",
        "\n".join(f"- {link}" for link in _standards([inspect.getsource(module), *texts.values()])),
        "## Sources",
        *_source_list(name, texts),
    ]
    return "\n\n".join(parts) + "\n"


def fill(text: str) -> str:
    """A page with its blocks written again. `KeyError` for a block or model that is unknown."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{_block(found[2])}\n\n{found[3]}", text)


def pages(docs: Path) -> dict[Path, str]:
    """What every page in the directory should be, by its path."""
    found = {path: fill(path.read_text()) for path in sorted(docs.glob("*.md"))}
    found.update({docs / "functions" / f"{name}.md": page(name) for name in functions.known()})
    return found


def _block(name: str) -> str:
    kind, _, what = name.partition(" ")
    blocks = {
        "keys": lambda: _keys(what),
        "reasons": lambda: _reason_table([word.upper() for word, _ in sources.reasons().values()]),
    }
    return blocks[kind]()


# Keys ----------------------------------------------------------------------------------------


def _definition(model: str) -> _Schema:
    found: _Schema = schema()["$defs"][model]
    return found


def _keys(model: str) -> str:
    """The keys of a model as a table."""
    definition = _definition(model)
    rows = [
        (
            f"`{key}`",
            _value(value),
            "required" if key in definition.get("required", ()) else _default(value),
            value.get("description", ""),
        )
        for key, value in definition["properties"].items()
    ]
    return _table(("Key", "Value", "Default", "Meaning"), rows)


def _keys_with_parts(model: str) -> Iterator[str]:
    """The table of a model, and those of the models inside it, each once, under its heading."""
    yield _keys(model)
    waiting, seen = [model], {model}
    while waiting:
        properties = _definition(waiting.pop(0))["properties"].values()
        for part in dict.fromkeys(_REFERENCE.findall(str(list(properties)))):
            if part not in seen:
                seen.add(part)
                waiting.append(part)
                yield f"### {part}"
                yield str(_definition(part)["description"])
                yield _keys(part)


def _value(value: _Schema) -> str:
    """What may be written, in words."""
    if "const" in value:
        return f"`{value['const']}`"
    if "$ref" in value:
        model = value["$ref"].rpartition("/")[2]
        return f"[{model}](#{model.lower()})"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if include.KEY in value.get("properties", {}):
        return "`include: FILE`"
    if "anyOf" in value:
        return _choice(value["anyOf"], value.get("examples"))
    if value.get("type") == "array":
        return f"list: {_value(value['items'])}"
    if "patternProperties" in value:
        (content,) = value["patternProperties"].values()
        return f"by name: {_value(content)}"
    return _scalar(value)


def _choice(choices: Sequence[_Schema], examples: Sequence[object] | None) -> str:
    if len(choices) == 2 and choices[1].get("items") == choices[0]:
        return f"{_value(choices[0])}; or a list"
    if examples is None:
        return " or ".join(map(_value, choices))
    named = [choice for choices_ in choices for choice in choices_.get("enum", ())]
    others = _as([example for example in examples if example not in named])
    return ", ".join([*(f"`{choice}`" for choice in named), others])


def _scalar(value: _Schema) -> str:
    if isinstance(value["type"], list):
        return " or ".join(
            {"string": "text", "integer": "a number"}[kind] for kind in value["type"]
        )
    if value["type"] == "boolean":
        return "`true`, `false`"
    if value["type"] == "integer":
        return f"{value['minimum']} to {value['maximum']}"
    if "examples" in value:
        return _as(value["examples"])
    return "a name" if "pattern" in value else "text"


def _as(examples: Sequence[object]) -> str:
    return "such as " + ", ".join(f"`{example}`" for example in examples)


def _default(value: _Schema) -> str:
    default = value.get("default")
    if default is None or isinstance(default, (list, dict)):
        return ""
    return f"`{str(default).lower()}`"


# Functions -----------------------------------------------------------------------------------


def _c_texts(name: str) -> dict[str, str]:
    """The C file of a function, and what it includes but for the contract, nf.h."""
    found: dict[str, str] = {}
    wanted = [f"functions/{name}.c"]
    if functions.find(name).rejects:
        wanted.append("reject.h")
    while wanted:
        file = wanted.pop(0)
        if file != "nf.h" and file not in found:
            found[file] = sources.read(file)
            wanted += _INCLUDE.findall(found[file])
    return found


def _comment(text: str) -> str:
    """The comment that a C file begins with, in paragraphs."""
    found = _HEADING_COMMENT.match(text)
    lines = [line.strip(" *\t") for line in found[1].strip().splitlines()] if found else []
    return "\n".join(lines)


def _example(name: str) -> Iterator[str]:
    path = _EXAMPLES / f"{name}.yaml"
    if path.exists():
        yield "## Example"
        yield f"This is [{path.name}](../../topologies/{path.name})."
        yield f"```yaml\n{path.read_text().strip()}\n```"


def _reason_table(names: Sequence[str]) -> str:
    used = {name.lower() for name in names}
    rows = [(f"`{word}`", text) for word, text in sources.reasons().values() if word in used]
    return _table(("Reason", "Meaning"), rows)


def _sizes(module: ModuleType) -> Iterator[str]:
    """Public constants of a module that are whole numbers, each with the text below it."""
    texts: dict[str, str] = {}
    together: list[str] = []  # constants of which one text speaks: no line is empty between them
    last_line = 0
    for statement in ast.parse(inspect.getsource(module)).body:
        if statement.lineno > last_line + 1:
            together = []
        last_line = statement.end_lineno or 0
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            together.append(statement.targets[0].id)
            texts[together[-1]] = ""
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            texts.update(dict.fromkeys(together, str(statement.value.value)))
    rows = [
        (f"`{name}`", f"{getattr(module, name):,}", text)
        for name, text in texts.items()
        if name.isupper() and not name.startswith("_") and isinstance(getattr(module, name), int)
    ]
    if rows:
        yield "## Sizes"
        yield _table(("Constant", "Value", "Meaning"), rows)


def _standards(texts: Sequence[str]) -> Iterator[str]:
    """The RFCs that the sources name, each with its sections."""
    sections: dict[int, set[str]] = {}
    for text in texts:
        for number, section in _RFC.findall(re.sub(r"[\s*#]+", " ", text)):
            sections.setdefault(int(number), set()).update([section] if section else [])
    for number, found in sorted(sections.items()):
        link = f"[RFC {number}](https://www.rfc-editor.org/rfc/rfc{number})"
        which = ", ".join(sorted(found, key=lambda text: [int(part) for part in text.split(".")]))
        yield f"{link}, section {which}" if which else link


def _source_list(name: str, texts: Mapping[str, str]) -> Iterator[str]:
    yield f"Configuration, statistics and map contents: `nfv/functions/{name}.py`. The C:"
    rows = []
    for file, text in texts.items():
        path = file if "/" in file else f"include/{file}"
        about = re.split(r"(?<=\.) ", " ".join(_comment(text).split()))[0]
        rows.append((f"`nfv/ebpf/{path}`", about))
    yield _table(("File", "About"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns with nothing in them are left out."""
    used = [index for index, _ in enumerate(header) if any(row[index] for row in rows)]
    lines = [[header[index] for index in used], ["---"] * len(used)]
    lines += [[row[index].replace("|", "\\|") for index in used] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(docs: Path) -> None:
    """Write the pages of a directory."""
    (docs / "functions").mkdir(exist_ok=True)
    for path, text in pages(docs).items():
        path.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
