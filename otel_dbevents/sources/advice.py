"""What would mend a statement that runs again and again: the ORM says why it was run.

Only the names of mapped classes and their attributes are told, never a value.
"""

from typing import Any


def advise(context: Any) -> str:
    """Return what would mend the repetition of the statement that ``context`` executes.

    Empty where the ORM did not run it on its own account: then nothing is known of the reason.
    Loader options: https://docs.sqlalchemy.org/orm/queryguide/relationships.html
    """
    options = context.execution_options.get("_sa_orm_load_options")
    if options is None:
        return ""
    if options._lazy_loaded_from is not None:
        return _of_lazy_load(context.compiled.compile_state.current_path)
    if options._refresh_state is not None:
        name = options._refresh_state.class_.__name__
        return (
            f"columns of {name} are loaded row by row, as they were deferred or had expired:"
            f" undefer() them in the first query, or use Session(expire_on_commit=False)"
        )
    return ""


def _of_lazy_load(path: Any) -> str:
    attribute: Any = path.path[-1] if path is not None and path.path else None
    if not hasattr(attribute, "uselist"):
        return ""
    loader = "selectinload" if attribute.uselist else "joinedload"
    name = f"{attribute.parent.class_.__name__}.{attribute.key}"
    return f"{name} is lazy-loaded row by row: add options({loader}({name})) to the first query"
