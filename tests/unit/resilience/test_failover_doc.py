"""The operators' table in the documentation is the table in the code, line by line."""

from pathlib import Path

from serve_app.resilience.table import TABLE, Action, Row, Verdict

DOC = Path(__file__).parents[3] / "docs" / "failover.md"
REQUEST = {
    Action.SURFACE: "told to the caller",
    Action.FAIL_OVER: "next",
    Action.RETRY_ALONE: "next, or the same again",
}


def breaker(verdict: Verdict, row: Row) -> str:
    if verdict.is_success:
        return "success"
    if not verdict.counts:
        return "nothing"
    words = "opens" if verdict.trips else "counts"
    if verdict.opens_for_s:
        words += f" for {verdict.opens_for_s:g} s"
    return words + (", `Retry-After` opens" if row.pauses and not verdict.trips else "")


def lines(row: Row) -> list[str]:
    kinds = {"any": row.cloud} if row.local == row.cloud else {"cloud": row.cloud, "local": row.local}
    return [f"| {row.name} | {kind} | {REQUEST[v.action]} | {breaker(v, row)} |" for kind, v in kinds.items()]


def test_the_documented_table_is_the_table() -> None:
    text = DOC.read_text()
    table = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| what", "| ---"))]
    assert table == [line for row in TABLE for line in lines(row)]
