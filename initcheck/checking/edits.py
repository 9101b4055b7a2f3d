"""Edits of the code that makes a model: where they are written, and the model that they make.

An edit is tried as the user would write it: the factory runs again, and while the layer is made its argument is
replaced, so that whatever the layer does with an initializer (EinsumDense hands its axes to it) is done with the new
one. A model without a factory is drawn by the new initializers, called as its layers call theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from initcheck.audit.findings import Edit
from initcheck.backend.keras_private import functional_class
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.checking.load_model import LoadedModel
from initcheck.core.loading import RaisedError, run_user_code
from initcheck.probe.draw import find_called_initializer
from initcheck.probe.paths import PathNamer, own_variables
from initcheck.probe.places import (
    NOT_REPEATED,
    CallSite,
    Construction,
    changed_arguments,
    find_defaults,
    takes_argument,
)
from initcheck.probe.weights import WeightFacts, find_initializer_argument, name_initializer

if TYPE_CHECKING:
    from initcheck.checking.session import CheckSession


class EditMaker:
    """Makes edits of one model's code."""

    def __init__(self, session: CheckSession) -> None:
        self._session = session
        self._by_id = {id(each.made): each for each in session.made}

    @cached_property
    def members(self) -> dict[str, Any]:
        """The layers of the model by name."""
        namer = PathNamer(self._session.model)
        return {namer.name_of(member): member for _, member in namer.members()}

    @cached_property
    def _weights(self) -> dict[str, Any]:
        return dict(zip(self._session.plan.names, self._session.model.weights, strict=True))

    @cached_property
    def _names(self) -> dict[int, str]:
        """The name of each layer, and of each weight, by its ``id``."""
        return {id(each): name for name, each in [*self._weights.items(), *self.members.items()]}

    def set_initializer(self, facts: WeightFacts, new: str, *, anew: bool = False) -> Edit | None:
        """Draw a weight by another initializer; None where no argument decides it, or it is that one already.

        Args:
            anew: whether another instance of the same initializer, without its seed, is a change too.
        """
        layer = self.members.get(facts.layer)
        same = name_initializer(read_code(new, "initializer")) == facts.initializer
        if layer is None or (same and not anew):
            return None
        weight = facts.path.rpartition("/")[2].partition("@")[0]
        known = bool(facts.initializer) and hasattr(import_keras().initializers, facts.initializer.partition("(")[0])
        old = f"keras.initializers.{facts.initializer}" if known else facts.initializer or "another initializer"
        if anew and facts.seed is not None and facts.seed_given == "integer":
            bare = old.removesuffix(")") + (", " if old.endswith(")") else "(")
            old = f"{bare}seed={facts.seed})"
        construction = self._session.constructions.get(facts.layer)
        for each in (self.members[self._find_maker(facts.layer)] if construction is None else construction.made, layer):
            if argument := find_initializer_argument(type(each), weight):
                return self.set_argument(facts.layer, argument, old, new)
        added = self._by_id.get(id(self._weights[facts.path]))
        return None if added is None else self._write(added, facts.path, "initializer", old, new)

    def find_site(self, facts: WeightFacts) -> CallSite | None:
        """Find the call that decides the initializer of a weight."""
        edit = self.set_initializer(facts, "None")
        return None if edit is None else edit.site

    def set_argument(self, layer: str, argument: str, old: str, new: str) -> Edit | None:
        """Write another value for an argument of the call that makes a layer; None where no call takes it."""
        if layer not in self._session.constructions:
            return Edit(self._find_maker(layer), argument, old, new)
        construction = self.find_call(layer, argument)
        return None if construction is None else self._write(construction, layer, argument, old, new)

    def _find_maker(self, name: str) -> str:
        """Find the outermost layer of Keras around a layer, no model, which makes it for itself; else the layer."""
        parts = name.split("/")
        for count in range(1, len(parts)):
            around = self.members.get("/".join(parts[:count]))
            if around is not None and not isinstance(around, import_keras().Model):
                return "/".join(parts[:count]) if type(around).__module__.startswith("keras.") else name
        return name

    def _write(self, construction: Construction, name: str, argument: str, old: str, new: str) -> Edit:
        kind: Any = type(construction.made)
        order = list(find_defaults(kind)[0])
        return Edit(
            layer=self._names.get(id(construction.made)) or self._find_maker(name),
            argument=argument,
            old=old,
            new=new,
            site=construction.site if construction.is_direct else None,
            position=order.index(argument) if argument in order else None,
            given=argument in construction.given,
        )

    def lower_epsilon(self, name: str) -> Edit | None:
        """Give a normalization the epsilon that its class has by default; None where it has no larger one."""
        layer = self.members.get(name)
        kind: Any = type(layer)
        default, epsilon = find_defaults(kind)[0].get("epsilon"), getattr(layer, "epsilon", None)
        if not isinstance(default, float) or not isinstance(epsilon, float) or epsilon <= default:
            return None
        return self.set_argument(name, "epsilon", repr(epsilon), repr(default))

    def put_behind(self, name: str, new: str, first: str) -> Edit:
        """Put a layer behind an input, or in front of the first layer where no line makes the input."""
        construction = self._session.constructions.get(name) or self._session.constructions.get(first)
        return Edit(name, "", "", new, None if construction is None else construction.site)

    def list_alike(self, edits: Sequence[Edit]) -> set[str]:
        """List the layers and weights that are made by the calls of some edits, with those that these have inside."""
        made = [self._by_id[key] for key in self._names if key in self._by_id]
        sites = {each.site for each in edits if each.site is not None}
        names = {self._names[id(each.made)] for each in made if each.site in sites}
        layers = {name for name, each in self._session.constructions.items() if each.site in sites}
        return names | layers

    def name_others(self, edits: Sequence[Edit]) -> tuple[Edit, ...]:
        """Add to each edit which other layers its call makes, that have no edit of the same argument."""
        return tuple(replace(each, others=tuple(self._find_others(each, edits))) for each in edits)

    def _find_others(self, edit: Edit, edits: Sequence[Edit]) -> Iterator[str]:
        changed = {each.layer for each in edits if (each.site, each.argument) == (edit.site, edit.argument)}
        if edit.site is None or not edit.argument:
            return
        for key, name in self._names.items():
            construction = self._by_id.get(key)
            if construction is None or construction.site != edit.site or construction.maker is not None:
                continue
            if name in changed or not takes_argument(type(construction.made), edit.argument):
                continue
            if self._name_initializer(name, edit.argument) != name_initializer(read_code(edit.new, edit.argument)):
                yield name

    def _name_initializer(self, name: str, argument: str) -> str | None:
        """Name the initializer that a layer was made with, or that a weight is drawn by; None where it is none."""
        drawn = {
            each: planned.initializer for each, planned in zip(self._weights, self._session.plan.variables, strict=True)
        }
        found = drawn[name] if name in drawn else getattr(self.members.get(name), argument, None)
        return name_initializer(found) if argument.endswith("initializer") else None

    def find_call(self, name: str, argument: str) -> Construction | None:
        """Find the call that takes an argument for a layer, or weight: its own, or that of the layer it is a copy of.

        Bidirectional and its like make layers from the configuration of one that is given to them.
        """
        if name in self._weights:
            return self._by_id.get(id(self._weights[name]))
        called = self._session.constructions.get(name)
        if called is None or takes_argument(type(called.made), argument):
            return called
        parts = name.split("/")
        around = [self.members.get("/".join(parts[: count + 1])) for count in range(len(parts))]
        around += [member for path, member in self.members.items() if path.startswith(f"{name}/")]
        originals = [
            each
            for key, each in self._by_id.items()
            if key not in self._names and each.maker is None and takes_argument(type(each.made), argument)
            if any(type(each.made) is type(copy) and _is_configured_alike(each.made, copy) for copy in around)
        ]
        inside = [each for each in originals if _is_inside(each, called)] or originals
        return inside[0] if len(inside) == 1 else None


def _is_configured_alike(original: Any, copy: Any) -> bool:
    """Find whether two layers have one configuration, but for their names and the direction of time."""
    configs = [dict(each.get_config()) for each in (original, copy)]
    for config in configs:
        for key in ("name", "go_backwards", "dtype", "build_config"):
            config.pop(key, None)
    return bool(configs[0] == configs[1])


def _is_inside(construction: Construction, called: Construction) -> bool:
    inner, outer = construction.site, called.site
    if inner is None or outer is None or inner.file != outer.file or inner.column < 0:
        return False
    begins = (outer.line, outer.column) <= (inner.line, inner.column)
    ends = (inner.end_line, inner.end_column) <= (outer.end_line, outer.end_column)
    return begins and ends and inner != outer


def read_code(code: str, argument: str) -> Any:
    """Make what an edit writes: the value of an argument, of which initializers are made from their names."""
    value = eval(code, {"keras": import_keras()})
    if argument.endswith("initializer") and isinstance(value, str):
        return import_keras().initializers.get(value)
    return value


def build_edited(session: CheckSession, edits: Sequence[Edit]) -> CheckSession | None:
    """Build the model with edits, ready to be measured on the same batch; None where they cannot be tried.

    That is so where the model without them would not come out the same again, and where no factory makes the model and
    an edit is of something else than an initializer or the inputs.

    Raises:
        ModelError: the code with the edits makes no model that can be measured.
    """
    arguments = [each for each in edits if each.argument]
    edited: CheckSession | None = session
    if arguments:
        edited = _remake(session, arguments) or _clone(session, arguments) or _replace_initializers(session, arguments)
    behind = {each.layer: each.new for each in edits if not each.argument}
    return edited if edited is None or not behind else edited.with_inputs(_transform_inputs(session, behind))


def _remake(session: CheckSession, edits: Sequence[Edit]) -> CheckSession | None:
    changes: dict[tuple[type, int], dict[str, Callable[[], Any]]] = {}
    maker = EditMaker(session)
    for each in edits:
        construction = maker.find_call(each.layer, each.argument)
        if construction is None or construction.number == NOT_REPEATED or session.remake is None:
            return None
        key = (type(construction.made), construction.number)
        # A string stays one, as it would be in the code.
        changes.setdefault(key, {})[each.argument] = partial(read_code, each.new, "")
    assert session.remake is not None
    with changed_arguments(changes) as changed:
        edited = session.prepare(session.remake())  # which builds a subclassed model
    if changed != set(changes):
        return None
    return edited if _list_shapes(edited) == _list_shapes(session) else None


def _clone(session: CheckSession, edits: Sequence[Edit]) -> CheckSession | None:
    """Build a functional model that no factory makes anew, from the configurations of its layers."""
    model = session.model
    if not isinstance(model, functional_class() | import_keras().Sequential):
        return None
    members = EditMaker(session).members
    changes: dict[int, dict[str, Any]] = {}
    for each in edits:
        if each.layer in members:
            changes.setdefault(id(members[each.layer]), {})[each.argument] = read_code(each.new, "")
    cloned: set[int] = set()

    def clone_layer(layer: Any) -> Any:
        config = layer.get_config()
        for argument, value in changes.get(id(layer), {}).items():
            config[argument] = import_keras().saving.serialize_keras_object(value)
        cloned.add(id(layer))
        return type(layer).from_config(config)

    def clone() -> Any:
        copy = import_keras().models.clone_model(model, clone_function=clone_layer)
        if model.compiled:
            copy.compile_from_config(model.get_compile_config())
        return copy

    try:
        with preserved_random_state():
            copy = run_user_code(clone)
    except RaisedError:  # a layer without a configuration
        return None
    if len(changes) < len({each.layer for each in edits}) or not cloned.issuperset(changes):
        return None
    edited = session.prepare(LoadedModel(copy, session.label))
    return edited if _list_shapes(edited) == _list_shapes(session) else None


def _list_shapes(session: CheckSession) -> list[tuple[str, tuple[int, ...]]]:
    """List the structural path and the shape of each weight: two builds of one model have the same."""
    weights = zip(session.plan.paths, session.model.weights, strict=True)
    return [(path, tuple(map(int, weight.shape))) for path, weight in weights]


def _replace_initializers(session: CheckSession, edits: Sequence[Edit]) -> CheckSession | None:
    """Draw by other initializers, as the layers would call them; None where an edit is of another kind."""
    members = EditMaker(session).members
    paths = PathNamer(session.model).variable_paths()
    changes: dict[str, Any] = {}
    for each in edits:
        layer = members.get(each.layer)
        if layer is None or not each.argument.endswith("_initializer"):
            return None
        found = [
            variable
            for inner in layer._flatten_layers()
            for variable in own_variables(inner)
            if find_initializer_argument(type(layer), str(variable.name)) == each.argument
        ]
        for variable in found:
            owner = next(inner for inner in layer._flatten_layers() if any(v is variable for v in own_variables(inner)))
            changes[paths[id(variable)]] = _as_called(owner, variable, read_code(each.new, each.argument))
    return session.with_initializers(changes) if changes else None


def _as_called(layer: Any, variable: Any, initializer: Any) -> Any:
    """Return an initializer as a layer would call it that had been made with it."""
    name = find_initializer_argument(type(layer), str(variable.name))
    before = getattr(layer, name, None) if name else None
    if before is None:
        return initializer
    setattr(layer, name, initializer)
    try:
        called = find_called_initializer(layer, variable)
    finally:
        setattr(layer, name, before)
    return initializer if called is None else called


def _transform_inputs(session: CheckSession, behind: Mapping[str, str]) -> Any:
    """Compute what the layers behind the inputs would pass on."""
    keras = import_keras()
    names = iter([node.layer for node in session.nodes() if node.kind == "Input"])

    def transform(leaf: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if leaf.dtype.kind != "f":
            return leaf
        code = behind.get(next(names, ""))
        if code is None:
            return leaf
        return np.asarray(keras.ops.convert_to_numpy(read_code(code, "")(leaf)), dtype=leaf.dtype)

    return keras.tree.map_structure(transform, session.inputs)
