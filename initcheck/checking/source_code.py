"""Edits written into the text of one Python file, as its author would have written them.

LibCST finds the call, its arguments, and what each name stands for. What is written is spliced into the text, so that
nothing else of it changes, not even a space. An edit that cannot be written without a guess is not written, and the
reason is given in one sentence.
"""

from __future__ import annotations

import ast
import bisect
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import libcst as cst
from libcst.metadata import (
    Assignment,
    BuiltinAssignment,
    BuiltinScope,
    ByteSpanPositionProvider,
    CodeSpan,
    ImportAssignment,
    MetadataWrapper,
    ParentNodeProvider,
    Scope,
    ScopeProvider,
)

from initcheck.audit.findings import Edit
from initcheck.core.formatting import format_names
from initcheck.probe.places import CallSite

_INPUTS: Final = ("Input", "InputLayer")
_SHAPE_ARGUMENTS: Final = ("input_shape", "input_dim")
_Item = cst.Arg | cst.BaseElement
_NEWLINE: Final = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class Unwritten:
    """An edit that cannot be written into the code, and why: a sentence that begins with a small letter, unstopped."""

    edit: Edit
    reason: str


class CannotWriteError(Exception):
    """An edit cannot be written; the message is the reason."""


@dataclass(frozen=True, order=True)
class _Splice:
    """A piece of text, in bytes of UTF-8, and what takes its place."""

    start: int
    end: int
    text: str

    def overlaps(self, other: _Splice) -> bool:
        """Find whether two pieces have something in common; the place between two characters is in no piece."""
        return self.start < other.end and other.start < self.end


def edit_source(text: str, edits: Iterable[Edit]) -> tuple[str, list[Unwritten]]:
    """Write edits into the text of a Python file, without its byte order mark; all edits are of this file.

    Returns:
        The new text, and the edits that are not in it.
    """
    edits = list(dict.fromkeys(edits))
    try:
        source = _Source(text)
    except cst.ParserSyntaxError as error:
        reason = f"the file cannot be parsed: {' '.join(error.message.split())} in line {error.raw_line}"
        return text, [Unwritten(each, reason) for each in edits]
    groups: dict[tuple[cst.Call, str], list[Edit]] = {}
    unwritten: list[Unwritten] = []
    for each in edits:
        try:
            groups.setdefault((source.find_call(each.site), each.argument), []).append(each)
        except CannotWriteError as error:
            unwritten.append(Unwritten(each, str(error)))
    agreed: dict[cst.Call, list[Edit]] = {}
    for (call, _), alike in groups.items():
        reasons = [_describe_conflict(each, alike) for each in alike]
        if any(reasons):
            unwritten += [Unwritten(each, reason or reasons[0]) for each, reason in zip(alike, reasons, strict=True)]
        else:
            agreed.setdefault(call, []).append(alike[0])

    accepted: list[_Splice] = []
    for call, different in agreed.items():
        for group in ([each for each in different if each.argument], [each for each in different if not each.argument]):
            splices, refused = _Rewriter(source, call).rewrite(group)
            if any(one.overlaps(other) for one in splices for other in accepted):
                refused = [Unwritten(each, "another edit changes the same piece of code") for each in group]
                splices = []
            accepted += [each for each in splices if each not in accepted]
            # What was said of one edit holds for those of other layers that are the same.
            unwritten += [Unwritten(each, one.reason) for one in refused for each in groups[call, one.edit.argument]]
    new = source.splice(accepted)
    try:
        ast.parse(new)
    except SyntaxError as error:
        reason = f"what would be written is no valid Python: {error.msg}"
        return text, [Unwritten(each, reason) for each in edits]
    return new, sorted(unwritten, key=lambda each: edits.index(each.edit))


def _describe_conflict(edit: Edit, alike: Sequence[Edit]) -> str:
    """Say why an edit cannot be written beside those of other layers that the same call makes; empty if it can."""
    different = [each for each in alike if each.new != edit.new]
    if any(each.layer == edit.layer for each in different):
        return f"another edit writes {different[0].written}"
    if different:
        names = list(dict.fromkeys(each.layer for each in different))
        needs = "needs another value" if len(names) == 1 else "need other values"
        return f"the same call makes {format_names(names)}, which {needs}"
    changed = {each.layer for each in alike}
    kept = list(dict.fromkeys(name for each in alike for name in each.others if name not in changed))
    if kept:
        verb = "is" if len(kept) == 1 else "are"
        return f"the same call also makes {format_names(kept)}, which {verb} not to change"
    return ""


# --- what stands where, and what names stand for ----------------------------------------------------------------------


class _Source:
    """A parsed file: its calls by their place, and what each name stands for.

    All positions are in bytes of UTF-8 from the beginning, whatever the encoding of the file is.
    """

    def __init__(self, text: str) -> None:
        self.data = text.encode()
        wrapper = MetadataWrapper(cst.parse_module(text))
        self.module = wrapper.module
        self._spans: Mapping[cst.CSTNode, CodeSpan] = wrapper.resolve(ByteSpanPositionProvider)
        self._scopes: Mapping[cst.CSTNode, Scope | None] = wrapper.resolve(ScopeProvider)
        self._parents: Mapping[cst.CSTNode, cst.CSTNode] = wrapper.resolve(ParentNodeProvider)
        self.newline = self.module.default_newline
        self._lines = [0, *(each.end() for each in _NEWLINE.finditer(self.data))]
        self._calls = {self.end(node): node for node in self._parents if isinstance(node, cst.Call)}
        self.names = {node.value for node in self._parents if isinstance(node, cst.Name)}
        self._attributes = {
            f"{node.value.value}.{node.attr.value}"
            for node in self._parents
            if isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name)
        }

    # positions

    def start(self, node: cst.CSTNode) -> int:
        """Where a node begins, without the white space and comments before it."""
        return self._spans[node].start

    def end(self, node: cst.CSTNode) -> int:
        """Where a node ends, without what comes after it."""
        return self._spans[node].start + self._spans[node].length

    def code(self, node: cst.CSTNode) -> str:
        """The text of a node."""
        return self.data[self.start(node) : self.end(node)].decode()

    def line_start(self, position: int) -> int:
        """Where the line of a position begins."""
        return self._lines[bisect.bisect_right(self._lines, position) - 1]

    def line_end(self, position: int) -> int:
        """Where the line of a position ends, before its newline."""
        match = _NEWLINE.search(self.data, position)
        return len(self.data) if match is None else match.start()

    def indent(self, position: int) -> str:
        """The white space at the beginning of the line of a position."""
        line = self.data[self.line_start(position) : position].decode()
        return line[: len(line) - len(line.lstrip(" \t\f"))]

    def is_first_at(self, position: int) -> bool:
        """Find whether nothing but white space comes before a position in its line."""
        return not self.data[self.line_start(position) : position].strip()

    def ends_line(self, position: int) -> bool:
        """Find whether nothing but a comment comes after a position in its line."""
        rest = self.data[position : self.line_end(position)].strip()
        return not rest or rest.startswith(b"#")

    def splice(self, splices: Iterable[_Splice]) -> str:
        """Return the text with pieces replaced."""
        parts, position = [], 0
        for each in sorted(splices):
            parts += [self.data[position : each.start], each.text.encode()]
            position = each.end
        return b"".join([*parts, self.data[position:]]).decode()

    # calls

    def find_call(self, site: CallSite | None) -> cst.Call:
        """Find the call that a layer was made by."""
        if site is None:
            raise CannotWriteError("the line that makes it is not known")
        call = self._find_in_line(site.line) if site.column < 0 else self._find_by_span(site)
        self._check_maker(call)
        return call

    def _find_by_span(self, site: CallSite) -> cst.Call:
        changed = CannotWriteError(f"line {site.line} is not what was run")
        if max(site.line, site.end_line) > len(self._lines):
            raise changed
        # No two calls end at the same place.
        call = self._calls.get(self._lines[site.end_line - 1] + site.end_column)
        if call is None or self._lines[site.line - 1] + site.column not in self._starts(call):
            raise changed
        return call

    def _find_in_line(self, line: int) -> cst.Call:
        if line > len(self._lines):
            raise CannotWriteError(f"there is no line {line}")
        begin = self._lines[line - 1]
        found = [
            each
            for each in self._calls.values()
            if any(self.line_start(start) == begin for start in self._starts(each))
        ]
        classes = [each for each in found if _last_name(each.func)[:1].isupper()]
        candidates = classes or found
        if len(candidates) != 1:
            what = "no call" if not candidates else "more than one call"
            raise CannotWriteError(f"line {line} holds {what}, and Python kept no columns")
        return candidates[0]

    def _starts(self, call: cst.Call) -> set[int]:
        """Where Python says that a call begins: at the method's name if that is in another line than the object."""
        starts = {self.start(call)}
        if isinstance(call.func, cst.Attribute):
            starts.add(self.start(call.func.attr))
        return starts

    def _check_maker(self, call: cst.Call) -> None:
        """Refuse a call that does not take the arguments of the layer which it makes."""
        target = self.resolve(call.func)
        name = _last_name(call.func)
        parts = target.split(".")
        is_layer = (len(parts) == 2 or "layers" in parts[:-1]) and parts[-1][:1].isupper()
        by_keras = parts[0] == "keras" and not is_layer
        if target.startswith("builtins.") or by_keras or name == "from_config":
            raise CannotWriteError(f"it is made by {self.code(call.func)}(...), not by a call of its class")

    # names

    def scope(self, node: cst.CSTNode) -> Scope:
        """The scope in which a node is evaluated."""
        scope = self._scopes.get(node)
        while scope is None:
            node = self._parents[node]
            scope = self._scopes.get(node)
        return scope

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """The node that a node is a part of; the module is a part of itself."""
        return self._parents.get(node, self.module)

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The nodes that a node is a part of, the next one first."""
        while node is not self.module:
            node = self.parent(node)
            yield node

    def list_loads(self, name: cst.Name) -> list[cst.Name]:
        """List where the value that is assigned to a name is used, in order."""
        found = {each.node for assigned in self.scope(name)[name.value] for each in assigned.references}
        return sorted((each for each in found if isinstance(each, cst.Name)), key=self.start)

    def list_names(self) -> list[cst.Name]:
        """List all names, also of attributes and arguments."""
        return [node for node in self._parents if isinstance(node, cst.Name)]

    def resolve(self, node: cst.CSTNode, depth: int = 4) -> str:
        """Write what a name or attribute stands for, such as ``keras.layers.Dense``; empty where it is not known."""
        if isinstance(node, cst.Attribute):
            base = self.resolve(node.value, depth)
            return _plain_target(f"{base}.{node.attr.value}") if base else ""
        if not isinstance(node, cst.Name) or not depth:
            return ""
        targets = {self._resolve_assignment(each, depth) for each in self.scope(node)[node.value]}
        return targets.pop() if len(targets) == 1 else ""

    def _resolve_assignment(self, assignment: object, depth: int) -> str:
        if isinstance(assignment, BuiltinAssignment):
            return f"builtins.{assignment.name}"
        if isinstance(assignment, ImportAssignment):
            return _imported(assignment)
        if isinstance(assignment, Assignment) and isinstance(assignment.node, cst.Name):
            value = self.assigned_value(assignment.node)
            return "" if value is None else self.resolve(value, depth - 1)
        return ""

    def assigned_value(self, name: cst.Name) -> cst.BaseExpression | None:
        """The value of ``name = value``; None where it is assigned in another way."""
        target = self.parent(name)
        statement = self.parent(target) if isinstance(target, cst.AssignTarget) else target
        if isinstance(statement, cst.Assign) and len(statement.targets) == 1 and target is not statement:
            return statement.value
        if isinstance(statement, cst.AnnAssign) and statement.target is name:
            return statement.value
        return None

    def is_a(self, func: cst.CSTNode, *classes: str) -> bool:
        """Find whether what is called makes a model of one of Keras' classes, or of one of the file that derives."""
        if isinstance(func, cst.Attribute) and func.attr.value == "__init__" and _is_super(func.value):
            owner = next((each for each in self.ancestors(func) if isinstance(each, cst.ClassDef)), None)
            return owner is not None and any(self.is_a(base.value, *classes) for base in owner.bases)
        target = self.resolve(func)
        if target.startswith("keras."):
            return target.rpartition(".")[2] in classes
        if not isinstance(func, cst.Name):
            return False
        made = [each.node for each in self.scope(func)[func.value] if isinstance(each, Assignment)]
        return any(
            isinstance(node, cst.ClassDef) and any(self.is_a(base.value, *classes) for base in node.bases)
            for node in made
        )

    # imports

    def spell(self, expression: str, call: cst.Call) -> tuple[str, list[_Splice]]:
        """Write an expression whose only name is ``keras`` as this file would, with the import that it may need."""
        splices: list[_Splice] = []
        pieces = []
        for node in _chains(ast.parse(expression, mode="eval").body):
            spelled = self._spell_path(ast.unparse(node), call)
            if not spelled:
                splices = [self._import_keras(call)]
            elif node.end_col_offset is not None:
                pieces.append(_Splice(node.col_offset, node.end_col_offset, spelled))
        data, position, parts = expression.encode(), 0, []
        for each in sorted(pieces):
            parts += [data[position : each.start], each.text.encode()]
            position = each.end
        return b"".join([*parts, data[position:]]).decode(), splices

    def _spell_path(self, path: str, call: cst.Call) -> str:
        """Write ``keras.initializers.HeNormal`` by the longest part of it that the file has imported; empty if none."""
        spelled, longest = "", -1
        for name, target in self._imports(call).items():
            if target == "tensorflow" and f"{name}.keras" in self._attributes and longest < 0:
                spelled, longest = f"{name}.{path}", 0
            elif f"{path}.".startswith(f"{target}.") and len(target) > longest:
                spelled, longest = name + path[len(target) :], len(target)
        return spelled

    def _imports(self, call: cst.Call) -> dict[str, str]:
        """List what was imported from Keras or TensorFlow and can be used in a call, by its name in the file."""
        found: dict[str, str] = {}
        for scope in _visible(self.scope(call)):
            for each in scope.assignments:
                if isinstance(each, ImportAssignment) and "." not in each.name and each.name not in found:
                    targets = {
                        _imported(one) if isinstance(one, ImportAssignment) and self._is_usable(one, call) else ""
                        for one in self.scope(call)[each.name]
                    }
                    if len(targets) == 1 and (target := targets.pop()).split(".")[0] in ("keras", "tensorflow"):
                        found[each.name] = target
        return found

    def _is_usable(self, imported: ImportAssignment, call: cst.Call) -> bool:
        """Find whether an import has been carried out where a call is: before it, and not only for type checkers."""
        tests = [self.code(each.test) for each in self.ancestors(imported.node) if isinstance(each, cst.If)]
        earlier = imported.scope is not self.scope(call) or self.start(imported.node) < self.start(call)
        return earlier and not any("TYPE_CHECKING" in test for test in tests)

    def _import_keras(self, call: cst.Call) -> _Splice:
        """Add ``import keras`` to the imports that the call's own names come from."""
        if self.scope(call)["keras"]:
            raise CannotWriteError("the name keras stands for something else there")
        block = self._importing_block(call)
        imports = [each for each in block if _list_imported(each)]
        if not imports:
            return self._import_at_top()
        anchor = next((each for each in imports if _imports_keras(each)), imports[-1])
        section = _find_section(block, anchor)
        plain = [each for each in section if isinstance(each.body[0], cst.Import)]
        later = next((each for each in plain if _list_imported(each)[0] > "keras"), None)
        if later is None and plain:
            position = self.line_end(self.end(plain[-1]))
            return _Splice(position, position, f"{self.newline}{self.indent(self.start(anchor))}import keras")
        position = self.start(later or section[0])
        return _Splice(position, position, f"import keras{self.newline}{self.indent(position)}")

    def _importing_block(self, call: cst.Call) -> Sequence[cst.CSTNode]:
        """The statements of the function that imports from Keras for a call, else those of the module."""
        for each in self.ancestors(call):
            if isinstance(each, cst.FunctionDef) and any(_imports_keras(one) for one in each.body.body):
                return each.body.body
        return self.module.body

    def _import_at_top(self) -> _Splice:
        """Add ``import keras`` to a module without imports, after the docstring and what is from the future."""
        body = self.module.body
        head = [each for number, each in enumerate(body) if _is_future(each) or (not number and _is_text(each))]
        if head:
            position = self.line_end(self.end(head[-1]))
            return _Splice(position, position, f"{self.newline}{self.newline}import keras")
        first = body[0]
        decorators = first.decorators if isinstance(first, cst.FunctionDef | cst.ClassDef) else ()
        position = self.start(decorators[0] if decorators else first)
        return _Splice(position, position, f"import keras{self.newline}{self.newline}")


def _plain_target(target: str) -> str:
    """TensorFlow's name for Keras is Keras."""
    return re.sub(r"^tensorflow\.keras\b", "keras", target)


def _imported(assignment: ImportAssignment) -> str:
    """Write what an import binds a name to, such as ``keras.layers``; empty where it is relative."""
    node = assignment.node
    if isinstance(node, cst.Import):
        for alias in node.names:
            if alias.evaluated_alias == assignment.name:
                return _plain_target(alias.evaluated_name)
        return assignment.name
    if (
        not isinstance(node, cst.ImportFrom)
        or node.relative
        or node.module is None
        or isinstance(node.names, cst.ImportStar)
    ):
        return ""
    for alias in node.names:
        if (alias.evaluated_alias or alias.evaluated_name) == assignment.name:
            return _plain_target(f"{_dotted(node.module)}.{alias.evaluated_name}")
    return ""


def _dotted(node: cst.CSTNode) -> str:
    """Write a dotted name; empty where it is anything else."""
    if isinstance(node, cst.Attribute):
        base = _dotted(node.value)
        return f"{base}.{node.attr.value}" if base else ""
    return node.value if isinstance(node, cst.Name) else ""


def _last_name(node: cst.CSTNode) -> str:
    """The name of what is called, without that of its module."""
    return node.attr.value if isinstance(node, cst.Attribute) else _dotted(node)


def _is_super(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Call) and _dotted(node.func) == "super"


def _visible(scope: Scope) -> Iterator[Scope]:
    """A scope and those around it."""
    while not isinstance(scope, BuiltinScope):
        yield scope
        scope = scope.parent


def _chains(node: ast.AST) -> Iterator[ast.expr]:
    """Find the names in an expression that begin with ``keras``, each as far as it goes."""
    root = node
    while isinstance(root, ast.Attribute):
        root = root.value
    if isinstance(root, ast.Name) and root.id == "keras" and isinstance(node, ast.Attribute | ast.Name):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _chains(child)


def _list_imported(statement: cst.CSTNode) -> list[str]:
    """Name the modules of a line that imports, and does nothing else; a line from the future is none."""
    modules: list[str] = []
    if not isinstance(statement, cst.SimpleStatementLine) or _is_future(statement):
        return modules
    for each in statement.body:
        if isinstance(each, cst.Import):
            modules += [alias.evaluated_name for alias in each.names]
        elif isinstance(each, cst.ImportFrom):
            modules.append("." * len(each.relative) + ("" if each.module is None else _dotted(each.module)))
        else:
            return []
    return modules


def _imports_keras(statement: cst.CSTNode) -> bool:
    return any(each.partition(".")[0] in ("keras", "tensorflow") for each in _list_imported(statement))


def _is_future(statement: cst.CSTNode) -> bool:
    return isinstance(statement, cst.SimpleStatementLine) and any(
        isinstance(each, cst.ImportFrom) and each.module is not None and _dotted(each.module) == "__future__"
        for each in statement.body
    )


def _is_text(statement: cst.CSTNode) -> bool:
    """Find whether a statement is nothing but a text, such as a docstring."""
    body = statement.body if isinstance(statement, cst.SimpleStatementLine) else ()
    kinds = cst.SimpleString | cst.ConcatenatedString
    return any(isinstance(each, cst.Expr) and isinstance(each.value, kinds) for each in body)


def _find_section(block: Sequence[cst.CSTNode], anchor: cst.CSTNode) -> list[cst.SimpleStatementLine]:
    """Find the imports around one that no empty line separates from it."""
    sections: list[list[cst.SimpleStatementLine]] = [[]]
    for each in block:
        if isinstance(each, cst.SimpleStatementLine) and _list_imported(each):
            if any(line.comment is None for line in each.leading_lines):
                sections.append([])
            sections[-1].append(each)
        else:
            sections.append([])
    return next(each for each in sections if anchor in each)


# --- the edits of one call --------------------------------------------------------------------------------------------


class _Rewriter:
    """Writes the edits of one call."""

    def __init__(self, source: _Source, call: cst.Call) -> None:
        self._source = source
        self._call = call

    def rewrite(self, edits: Sequence[Edit]) -> tuple[list[_Splice], list[Unwritten]]:
        """Return the pieces of text to be replaced, and the edits that are not written with the reasons."""
        splices: list[_Splice] = []
        refused: list[Unwritten] = []
        added: list[str] = []
        for each in edits:
            try:
                value, imports = self._source.spell(each.new, self._call)
                if not each.argument:
                    splices += self._put_layer(value)
                elif (old := self._find_value(each)) is not None:
                    splices.append(_Splice(self._source.start(old), self._source.end(old), value))
                else:
                    self._check_mapping(each)
                    added.append(f"{each.argument}={value}")
                splices += imports
            except CannotWriteError as error:
                refused.append(Unwritten(each, str(error)))
        if added:
            splices += self._add_arguments(added)
        return splices, refused

    # arguments

    def _find_value(self, edit: Edit) -> cst.BaseExpression | None:
        """Find the value of an argument in the call; None where the call does not give it."""
        for each in self._call.args:
            if each.keyword is not None and each.keyword.value == edit.argument:
                return self._check_value(each.value)
        positional = [each for each in self._call.args if each.keyword is None and each.star != "**"]
        before = next((number for number, each in enumerate(positional) if each.star), len(positional))
        if edit.position is None:
            return None
        if edit.position < before:
            return self._check_value(positional[edit.position].value)
        if before < len(positional) and edit.given:
            raise CannotWriteError(f"its value comes from {self._source.code(positional[before])}")
        return None

    def _check_value(self, value: cst.BaseExpression) -> cst.BaseExpression:
        """Refuse a value that other code needs: one that is given a name in passing."""
        if any(isinstance(each, cst.NamedExpr) for each in _walk(value)):
            raise CannotWriteError(f"other code may need the name that {self._source.code(value)} assigns")
        return value

    def _check_mapping(self, edit: Edit) -> None:
        mapping = next((each for each in self._call.args if each.star == "**"), None)
        if mapping is not None and edit.given:
            raise CannotWriteError(f"its value comes from {self._source.code(mapping)}")

    def _add_arguments(self, added: Sequence[str]) -> list[_Splice]:
        source, call = self._source, self._call
        if not call.args:
            return [self._fill_empty(added)]
        mapping = next((each for each in call.args if each.star == "**"), None)
        if mapping is not None:
            return [_insert_before(source, mapping, added)]
        return _insert_behind(source, call.args, len(call.args) - 1, added)

    def _fill_empty(self, added: Sequence[str]) -> _Splice:
        """Add arguments to a call without any; a comment may stand there."""
        source = self._source
        close = source.end(self._call) - 1
        if not source.is_first_at(close):
            return _Splice(close, close, ", ".join(added))
        begin, indent = source.line_start(close), source.indent(close)
        step = source.module.default_indent
        return _Splice(begin, begin, "".join(f"{indent}{step}{each},{source.newline}" for each in added))

    # a layer behind an input, or in front of the first one

    def _put_layer(self, layer: str) -> list[_Splice]:
        source, call = self._source, self._call
        parent = source.parent(call)
        if source.is_a(call.func, "Sequential"):
            return self._put_first(layer)
        behind = (source.resolve(call.func).rpartition(".")[2] or _last_name(call.func)) in _INPUTS
        if not behind:
            layer = self._move_shape(call, layer)
        if isinstance(parent, cst.Element) and self._is_in_sequential(parent):
            if not behind:
                return [_insert_before(source, parent, [layer])]
            owner = source.parent(parent)
            items = owner.elements if isinstance(owner, cst.List | cst.Tuple) else [parent]
            return _insert_behind(source, items, items.index(parent), [layer])
        if isinstance(parent, cst.Arg) and (splices := self._put_by_add(parent, layer, behind=behind)):
            return splices
        if behind and isinstance(parent, cst.Assign | cst.AnnAssign):
            return self._put_behind_name(parent, layer)
        raise CannotWriteError("how the model is put together there is not understood")

    def _put_first(self, layer: str) -> list[_Splice]:
        """Put a layer in front of the first one of a Sequential that makes its input by itself, from that one."""
        items = self._call.args[0].value if self._call.args else None
        first = items.elements[0] if isinstance(items, cst.List | cst.Tuple) and items.elements else None
        if first is None or not isinstance(first.value, cst.Call):
            raise CannotWriteError("which layer is the first one is not known")
        return [_insert_before(self._source, first, [self._move_shape(first.value, layer)])]

    def _move_shape(self, first: cst.Call, layer: str) -> str:
        """Give a layer the input's shape that the first one is made with, which only a model's first layer reads."""
        given = [each for each in first.args if each.keyword is not None and each.keyword.value in _SHAPE_ARGUMENTS]
        return f"{layer.removesuffix(')')}, {self._source.code(given[0])})" if given else layer

    def _is_in_sequential(self, element: cst.Element) -> bool:
        """Find whether an element is one of ``keras.Sequential([...])``, also by ``[...] + [...]`` or by a name."""
        source = self._source
        node = source.parent(element)
        while isinstance(source.parent(node), cst.BinaryOperation):
            node = source.parent(node)
        statement = source.parent(node)
        if isinstance(statement, cst.Assign) and isinstance(name := statement.targets[0].target, cst.Name):
            return any(self._is_given_to(each, "Sequential", "layers") for each in source.list_loads(name))
        return self._is_given_to(node, "Sequential", "layers")

    def _is_given_to(self, node: cst.CSTNode, kind: str, keyword: str) -> bool:
        """Find whether a node is the first argument of a call that makes a model of a kind, or that of a keyword."""
        argument = self._source.parent(node)
        call = self._source.parent(argument)
        if not isinstance(argument, cst.Arg) or not isinstance(call, cst.Call):
            return False
        if argument.keyword is None:
            return argument is call.args[0] and self._source.is_a(call.func, kind)
        others = {each.keyword.value for each in call.args if each.keyword is not None}
        return argument.keyword.value == keyword and ("outputs" in others or self._source.is_a(call.func, kind))

    def _is_model_input(self, name: cst.Name) -> bool:
        """Find whether a name is given to a model as an input, alone or in a list or dictionary."""
        return self._is_given_to(self._outermost(name), "Model", "inputs")

    def _outermost(self, node: cst.CSTNode) -> cst.CSTNode:
        """The list, tuple or dictionary that a node is in, else the node itself."""
        source = self._source
        while isinstance(source.parent(node), cst.Element | cst.DictElement):
            node = source.parent(source.parent(node))
        return node

    def _put_by_add(self, argument: cst.Arg, layer: str, *, behind: bool) -> list[_Splice]:
        """Write one more ``model.add(...)``; nothing where the call is not a statement."""
        source = self._source
        add = source.parent(argument)
        statement = source.parent(add) if isinstance(add, cst.Call) else None
        if not isinstance(add, cst.Call) or not isinstance(statement, cst.Expr) or len(add.args) != 1:
            return []
        if not isinstance(add.func, cst.Attribute) or add.func.attr.value != "add":
            return []
        return [self._add_statement(statement, f"{source.code(add.func)}({layer})", behind=behind)]

    def _add_statement(self, statement: cst.CSTNode, text: str, *, behind: bool) -> _Splice:
        """Write a statement next to another one: in a line of its own, if that one has a line of its own."""
        source = self._source
        line = source.parent(statement)
        start, end = source.start(statement), source.end(statement)
        if not isinstance(line, cst.SimpleStatementLine) or len(line.body) > 1:
            return _Splice(end, end, f"; {text}") if behind else _Splice(start, start, f"{text}; ")
        if behind:
            position = source.line_end(end)
            return _Splice(position, position, f"{source.newline}{source.indent(start)}{text}")
        return _Splice(start, start, f"{text}{source.newline}{source.indent(start)}")

    def _put_behind_name(self, statement: cst.Assign | cst.AnnAssign, layer: str) -> list[_Splice]:
        """Write ``scaled = layer(inputs)`` behind ``inputs = keras.Input(...)``, and ``scaled`` where it is used."""
        source = self._source
        targets = (
            [each.target for each in statement.targets] if isinstance(statement, cst.Assign) else [statement.target]
        )
        names = [each for each in targets if isinstance(each, cst.Name)]
        if len(names) < len(targets):
            raise CannotWriteError("the input has no name of its own")
        if len(names) > 1:
            return self._put_behind_names(statement, names, layer)
        (name,) = names
        if len(list(source.scope(name)[name.value])) != 1:
            raise CannotWriteError(f"{name.value} is assigned more than once")
        loads = source.list_loads(name)
        used = [each for each in loads if not self._is_model_input(each)]
        if not used or len(used) == len(loads):
            raise CannotWriteError(f"no model is made from {name.value} there")
        if any(source.start(each) < source.end(statement) for each in used):
            raise CannotWriteError(f"{name.value} is used before it is made")
        for each in used:
            self._check_use(each)
        scaled = next(each for each in _list_names("scaled") if each not in source.names)
        splices = [_Splice(source.start(each), source.end(each), scaled) for each in used]
        return [*splices, self._add_statement(statement, f"{scaled} = {layer}({name.value})", behind=True)]

    def _put_behind_names(self, statement: cst.CSTNode, names: Sequence[cst.Name], layer: str) -> list[_Splice]:
        """Write ``x = layer(inputs)`` behind ``x = inputs = keras.Input(...)``, of which a model takes ``inputs``."""
        source = self._source
        inputs = [each for each in names if any(map(self._is_model_input, source.list_loads(each)))]
        if len(inputs) != 1 or len(list(source.scope(inputs[0])[inputs[0].value])) != 1:
            raise CannotWriteError("which of its names is the input of a model is not clear")
        if not all(map(self._is_model_input, source.list_loads(inputs[0]))):
            raise CannotWriteError(f"{inputs[0].value} is used beside the other name of the input")
        others = " = ".join(each.value for each in names if each is not inputs[0])
        return [self._add_statement(statement, f"{others} = {layer}({inputs[0].value})", behind=True)]

    def _check_use(self, name: cst.Name) -> None:
        """Refuse where an input is passed on under another name, by which a model may take it."""
        source = self._source
        outermost = self._outermost(name)
        statement = source.parent(outermost)
        if isinstance(statement, cst.Assign) and outermost is name:
            targets = [each.target for each in statement.targets]
            names = {each.value for each in targets if isinstance(each, cst.Name)}
            if len(names) == len(targets) and not any(
                each.value in names and self._is_model_input(each) for each in source.list_names()
            ):
                return
        elif not isinstance(statement, cst.Assign | cst.AnnAssign | cst.Return | cst.Yield | cst.Del):
            return
        raise CannotWriteError(f"what becomes of {name.value} in '{source.code(statement)}' is not understood")


def _walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A node and all that it is made of."""
    yield node
    for child in node.children:
        yield from _walk(child)


def _list_names(name: str) -> Iterator[str]:
    """A name, and then the same with a number."""
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(2))


# --- lists of arguments and of elements -------------------------------------------------------------------------------


def _insert_before(source: _Source, item: _Item, texts: Sequence[str]) -> _Splice:
    """Write items in front of one: in lines of their own, if that one has a line of its own."""
    start = source.start(item)
    between = f"{source.newline}{source.indent(start)}" if source.is_first_at(start) else " "
    return _Splice(start, start, "".join(f"{each},{between}" for each in texts))


def _insert_behind(source: _Source, items: Sequence[_Item], index: int, texts: Sequence[str]) -> list[_Splice]:
    """Write items behind one as that one is written: in a line of its own or not, with a comma or without."""
    item = items[index]
    start, end = source.start(item), source.end(item)
    comma = source.end(item.comma) if isinstance(item.comma, cst.Comma) else None
    last = end if comma is None else comma
    following = items[index + 1] if index + 1 < len(items) else None
    if following is not None and not source.is_first_at(start) and source.is_first_at(source.start(following)):
        return [_insert_before(source, following, texts)]
    closed = source.ends_line(last)
    if not source.is_first_at(start) or not (closed or following is None):
        between = (
            "".join(f" {each}," for each in texts) if comma is not None else "".join(f", {each}" for each in texts)
        )
        return [_Splice(last, last, between)]
    line = f"{source.newline}{source.indent(start)}"
    position = source.line_end(last) if closed else last
    if comma is not None:
        return [_Splice(position, position, "".join(f"{line}{each}," for each in texts))]
    text = ",".join(f"{line}{each}" for each in texts)
    if position == end:
        return [_Splice(end, end, f",{text}")]
    return [_Splice(end, end, ","), _Splice(position, position, text)]  # a comment stands between
