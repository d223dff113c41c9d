"""Plans without values, and which statements may be explained at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_dbevents.sources.explain.plan import WAYS, masked, render
from otel_dbevents.sources.explain.refusing import changes_nothing

pytestmark = pytest.mark.newest  # once is enough, whatever the versions


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select a from t where b = 'x'",
        "  /* why */ SELECT a FROM t ;\n",
        "WITH c AS (SELECT a FROM t) SELECT * FROM c",
        "(SELECT a FROM t) UNION ALL (SELECT a FROM u)",
        "SELECT count(*), lower(name), coalesce(a, 1) FROM t",
        "SELECT nextval FROM t",
    ],
)
def test_a_single_select_changes_nothing(sql: str) -> None:
    for dialect in WAYS:
        assert changes_nothing(sql, dialect), dialect


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET a = 1",
        "INSERT INTO t SELECT * FROM u",
        "EXPLAIN ANALYZE SELECT 1",
        "ANALYZE SELECT 1",
        "VACUUM",
        "CALL p()",
        "DO $$ BEGIN DELETE FROM t; END $$",
        "SELECT 1; DROP TABLE t",
        "SELECT ';' FROM t",
        "SELECT 1 -- ; DROP TABLE t",
        "SELECT a INTO u FROM t",
        "SELECT a FROM t INTO OUTFILE '/tmp/x'",
        "SELECT a FROM t FOR UPDATE",
        "SELECT a FROM t FOR SHARE",
        "SELECT a FROM t LOCK IN SHARE MODE",
        "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d",
        "WITH d AS (SELECT 1) DELETE FROM t",
        "WITH d AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM d",
        "SELECT nextval('s')",
        "SELECT a, setval ('s', 1) FROM t",
        "SELECT \"nextval\"('s')",
        "SELECT pg_catalog.nextval('s')",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_terminate_backend(1)",
        "SELECT dblink_exec('DELETE FROM t')",
        "SELECT lo_unlink(1)",
        "SELECT GET_LOCK('a', 1)",
        "SELECT sleep(5)",
        "SELECT load_extension('x')",
        "SELECT 1 /*! INTO OUTFILE 'x' */",
        "SELECT 'never ends",
        "",
        ";",
    ],
)
def test_what_may_change_something_is_never_asked(sql: str) -> None:
    for dialect in WAYS:
        assert not changes_nothing(sql, dialect), dialect


NODE = {"Startup Cost": 0.0, "Total Cost": 25.876, "Plan Rows": 6, "Plan Width": 36}


def test_postgresqls_plan_is_a_tree_of_lines() -> None:
    seq = {
        "Node Type": "Seq Scan",
        "Relation Name": "größen",
        "Alias": "g",
        "Filter": "((name)::text = 'xq'::text)",
        "Output": ["xq"],
        "Some Day": "xq",
        **NODE,
    }
    index = {"Node Type": "Index Scan", "Index Name": "ix", "Relation Name": "u", "Alias": "u"}
    join = {
        "Node Type": "Hash Join",
        "Join Type": "Left",
        "Hash Cond": "(g.id = u.id)",
        "Plans": [seq, index | NODE],
        **NODE,
    }
    limit = {"Node Type": "Aggregate", "Partial Mode": "Finalize", "Plans": [join], **NODE}
    cte = {"Node Type": "CTE Scan", "CTE Name": "c", "Subplan Name": "CTE c", **NODE}
    limit["Sort Key"] = ["name", "lower('xq')"]
    limit["Plans"].append(cte)  # type: ignore[union-attr]
    assert render(WAYS["postgresql"], [([{"Plan": limit}],)]).splitlines() == [
        "Finalize Aggregate (cost=0.00..25.88 rows=6 width=36)",
        "  Sort Key: name, lower(?)",
        "  Hash Join (Left) (cost=0.00..25.88 rows=6 width=36)",
        "    Hash Cond: (g.id = u.id)",
        "    Seq Scan on größen g (cost=0.00..25.88 rows=6 width=36)",
        "      Filter: ((name)::text = ?::text)",
        "    Index Scan using ix on u (cost=0.00..25.88 rows=6 width=36)",
        "  CTE c: CTE Scan on c (cost=0.00..25.88 rows=6 width=36)",
    ]


def test_sqlites_plan_is_indented_and_says_nothing_of_a_virtual_tables_index() -> None:
    rows = [
        (2, 0, 0, "MULTI-INDEX OR"),
        (3, 2, 0, "INDEX 1"),
        (5, 3, 0, "SEARCH t USING INDEX ix (a=?)"),
        (9, 0, 0, "SCAN f VIRTUAL TABLE INDEX 4:xq-secret\nxq"),
    ]
    assert render(WAYS["sqlite"], rows).splitlines() == [
        "MULTI-INDEX OR",
        "  INDEX 1",
        "    SEARCH t USING INDEX ix (a=?)",
        "SCAN f VIRTUAL TABLE INDEX ?",
    ]


MYSQL = """{"query_block": {"select_id": 1, "cost_info": {"query_cost": "1.25"},
  "nested_loop": [
    {"table": {"table_name": "p", "access_type": "ref", "possible_keys": ["ix", "iy"], "key": "ix",
      "ref": ["const"], "rows_examined_per_scan": 2, "filtered": "100.00",
      "cost_info": {"read_cost": "0.25"},
      "index_condition": "<in_optimizer>(p.`id`,p.`id` in (subquery#2)) or p.`n` = 'xq'",
      "unknown": "xq", "XQ": {"x": 1},
      "attached_condition": "((`s`.`p`.`id` > 77) and (`s`.`p`.`n` = _utf8mb4'x\\\\'q'))"}},
    {"block-nl-join": {"table": {"table_name": "u", "access_type": "ALL", "rows": 3},
      "buffer_type": "flat"}}]}}"""


def test_mysqls_and_mariadbs_plan_is_a_tree_of_lines() -> None:
    assert render(WAYS["mysql"], [(MYSQL,)]).splitlines() == [
        "query_block (select_id=1)",
        "  nested_loop",
        "    table (table_name=p access_type=ref possible_keys=ix,iy key=ix ref=const"
        " rows_examined_per_scan=2 filtered=100.00)",
        "      index_condition: <in_optimizer>(p.`id`,p.`id` in (subquery_2)) or p.`n` = ?",
        "      attached_condition: ((`s`.`p`.`id` > ?) and (`s`.`p`.`n` = ?))",
        "  nested_loop",
        "    block-nl-join",
        "      table (table_name=u access_type=ALL rows=3)",
    ]


@given(st.text(alphabet="xq'\"\\ ;()$-/*", max_size=30))
def test_no_literal_of_a_condition_is_left(value: str) -> None:
    """As PostgreSQL writes it: quotes doubled, and an E before where there is a backslash."""
    quoted = value.replace("'", "''").replace("\\", "\\\\")
    literal = f"E'{quoted}'" if "\\" in value else f"'{quoted}'"
    assert masked(f"((name)::text = {literal}::text)", "postgresql") == "((name)::text = ?::text)"


def test_a_plan_without_end_is_cut_between_lines() -> None:
    rows = [(number, 0, 0, "SCAN t" + "x" * 90) for number in range(1, 1_001)]
    lines = render(WAYS["sqlite"], rows).splitlines()
    assert lines[-1] == "..."
    assert set(lines[:-1]) == {rows[0][3]}
    assert len("\n".join(lines)) <= 8_000


@pytest.mark.parametrize("rows", [[], [("null",)], [("[]",)], [("{",)], [(7,)]])
def test_what_is_no_plan_is_an_error(rows: Any) -> None:
    with pytest.raises((ValueError, LookupError, TypeError)):
        render(WAYS["postgresql"], rows)
