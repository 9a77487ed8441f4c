"""Devices and converters as plain JSON types and back, by registered name."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar


class Named(Protocol):
    """A class with the name it is registered under."""

    name: ClassVar[str]


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """Classes by name, for frozen dataclasses whose fields are plain JSON types.

    Args:
        kind: Word for the messages, "device" or "converter".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def register(self, cls: type[T]) -> type[T]:
        """Register a class under its ``name``; use it as a decorator above ``@dataclass``.

        Args:
            cls: Frozen dataclass with a class variable ``name``.

        Returns:
            The class itself.

        Raises:
            TypeError: If the class is not a frozen dataclass or has no ``name``.
            ValueError: If another class has this name.
        """
        name = getattr(cls, "name", None)
        frozen = getattr(getattr(cls, "__dataclass_params__", None), "frozen", False)
        if not isinstance(name, str) or not frozen:
            raise TypeError(
                f"{cls.__name__} cannot be registered as a {self.kind}: it must be a frozen "
                f"dataclass (@dataclass(frozen=True) below the decorator) with name: ClassVar[str] "
                f'= "...", but name is {name!r}.'
            )
        known = self._classes.get(name)
        # The same class again (a notebook cell run twice) replaces the first.
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise ValueError(
                f"{name!r} already names the {self.kind} {known.__qualname__}; choose another name "
                f"for {cls.__qualname__}."
            )
        self._classes[name] = cls
        return cls

    def names(self) -> list[str]:
        """Return the registered names in alphabetical order."""
        return sorted(self._classes)

    def from_dict(self, data: Mapping[str, Any]) -> T:
        """Build an object from ``{"name": ..., field: value, ...}``.

        Args:
            data: Name and fields; missing fields take their defaults.

        Returns:
            The object.

        Raises:
            TypeError: If ``data`` is not a mapping.
            ValueError: If the name or a field is unknown, or a field without default is missing.
        """
        if not isinstance(data, Mapping):
            raise TypeError(
                f"a {self.kind} must be described by a mapping such as "
                f'{{"name": "{self.names()[0]}"}}, but {data!r} was given.'
            )
        name = data.get("name")
        cls = self._classes.get(name) if isinstance(name, str) else None
        if cls is None:
            raise ValueError(
                f"unknown {self.kind} name {name!r}; known are {', '.join(self.names())}. A class "
                f"of your own needs the decorator @register_{self.kind}."
            )
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
        values = {key: value for key, value in data.items() if key != "name"}
        unknown = sorted(str(key) for key in values.keys() - fields.keys())
        if unknown:
            raise ValueError(
                f"{self.kind} {name!r} has no field {', '.join(unknown)}; its fields are "
                f"{', '.join(sorted(fields))}."
            )
        missing = [key for key, field in fields.items() if key not in values and _required(field)]
        if missing:
            raise ValueError(f"{self.kind} {name!r} needs a value for {', '.join(missing)}.")
        return cls(**values)


def to_plain(component: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a named frozen dataclass as plain JSON types.

    Args:
        component: Device or converter.

    Returns:
        ``{"name": ..., field: value, ...}``; tuples become lists.
    """
    fields = dataclasses.fields(component)
    plain = {field.name: _plain_value(getattr(component, field.name)) for field in fields}
    return {"name": component.name, **plain}


def _plain_value(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple | list):
        return [_plain_value(entry) for entry in value]
    to_dict: Callable[[], dict[str, Any]] | None = getattr(value, "to_dict", None)
    return value if to_dict is None else to_dict()


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
