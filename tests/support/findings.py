"""Findings of the doctor."""

from collections.abc import Iterator

from streamstop import Finding, Severity


def problems_of(findings: Iterator[Finding]) -> list[tuple[str, str]]:
    """Return check and text of each problem; a problem says what to do."""
    found = [finding for finding in findings if finding.severity is Severity.PROBLEM]
    assert all(finding.do for finding in found)
    return [(finding.check, finding.text) for finding in found]
