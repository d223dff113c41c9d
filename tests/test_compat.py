"""What is installed beside us."""

import logging
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from otel_dbevents import compat
from otel_dbevents.compat import UnsupportedVersionError, check_versions, warn_if_contrib_active

CONTRIB = "opentelemetry.instrumentation.sqlalchemy"


@pytest.fixture(autouse=True)
def unwarned(monkeypatch):
    monkeypatch.setattr(compat, "_warned", False)


def with_versions(monkeypatch, sqlalchemy, sdk):
    found = {"sqlalchemy": sqlalchemy, "opentelemetry-sdk": sdk}
    monkeypatch.setattr(compat, "installed", found.get)


def test_what_is_installed_here_is_supported():
    check_versions()
    assert compat.installed("no-such-package-at-all") is None


@pytest.mark.parametrize("sqlalchemy", ["2.0.10", "2.1.0b2", "2.10.3"])
def test_known_versions_pass_in_silence(monkeypatch, caplog, sqlalchemy):
    with_versions(monkeypatch, sqlalchemy, "1.40.0")
    check_versions()
    assert not caplog.records


def test_a_version_too_old_is_refused_with_the_mend(monkeypatch):
    with_versions(monkeypatch, "1.4.54", "1.39.1")
    with pytest.raises(UnsupportedVersionError) as raised:
        check_versions()
    assert str(raised.value) == (
        "otel_dbevents needs sqlalchemy>=2.0.10, and 1.4.54 is installed: "
        "pip install 'sqlalchemy>=2.0.10'. "
        "otel_dbevents needs opentelemetry-sdk>=1.40, and 1.39.1 is installed: "
        "pip install 'opentelemetry-sdk>=1.40'"
    )


def test_what_is_missing_is_refused_with_the_mend(monkeypatch):
    with_versions(monkeypatch, None, "1.45.2")
    with pytest.raises(UnsupportedVersionError, match="SQLAlchemy, which is not installed: pip in"):
        check_versions()


def test_a_major_version_that_is_not_known_is_tried_with_a_warning(monkeypatch, caplog):
    with_versions(monkeypatch, "3", "1.45.2")
    check_versions()
    assert "does not know SQLAlchemy 3 yet" in caplog.text


def test_contrib_is_not_active_when_it_was_never_imported(monkeypatch, caplog):
    monkeypatch.delitem(sys.modules, CONTRIB, raising=False)
    assert not warn_if_contrib_active()
    assert not caplog.records


def pretend_contrib(monkeypatch, instrumented):
    instance = SimpleNamespace(_is_instrumented_by_opentelemetry=instrumented)
    instrumentor = SimpleNamespace(_instance=instance)
    module = SimpleNamespace(SQLAlchemyInstrumentor=instrumentor)
    monkeypatch.setitem(sys.modules, CONTRIB, module)


def test_contrib_imported_but_not_turned_on_is_not_active(monkeypatch):
    pretend_contrib(monkeypatch, instrumented=False)
    assert not warn_if_contrib_active()


def test_contrib_active_too_is_warned_of_once_with_what_to_do(monkeypatch, caplog):
    pretend_contrib(monkeypatch, instrumented=True)
    with caplog.at_level(logging.WARNING):
        assert warn_if_contrib_active()
        assert warn_if_contrib_active()
    [record] = caplog.records
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=sqlalchemy" in record.getMessage()


def test_contribs_patches_are_seen_whoever_put_them_there(monkeypatch):
    import sqlalchemy.engine

    pretend_contrib(monkeypatch, instrumented=False)

    def connect(*_):
        """Stand in for a wrapped Engine.connect."""

    connect._self_wrapper = SimpleNamespace(__module__=f"{CONTRIB}.engine")
    monkeypatch.setattr(sqlalchemy.engine.Engine, "connect", connect)
    assert compat.contrib_active()


@pytest.mark.oldest
def test_the_real_contrib_is_seen():
    module = import_module(CONTRIB)
    instrumentor = module.SQLAlchemyInstrumentor()
    instrumentor.instrument(skip_dep_check=True)
    try:
        assert compat.contrib_active()
    finally:
        instrumentor.uninstrument()
    assert not compat.contrib_active()
