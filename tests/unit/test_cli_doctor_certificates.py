"""What `trivium doctor` finds in certificates."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from cli.checks.certificates import examine_certificates
from cli.checks.check import Check, Finding, Status
from tests.unit.doctor import files, in_days


def certificate_findings(environ: dict[str, str]) -> list[Finding]:
    return Check("certificates", "trivium", lambda: examine_certificates("TRIVIUM", environ)).run()


def test_a_good_certificate_is_described(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("trivium", "127.0.0.1", not_after=in_days(30.5))
    with files(tmp_path, authority, certificate) as environ:
        [fine] = certificate_findings(environ)
    assert fine.status is Status.OK
    assert fine.text.startswith("for trivium, 127.0.0.1; issued by ")
    assert fine.text.endswith("; 30 days left")


def test_an_expired_certificate_is_a_failure(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("trivium", not_before=in_days(-9), not_after=in_days(-1))
    with files(tmp_path, authority, certificate) as environ:
        [failed] = certificate_findings(environ)
    assert failed.status is Status.FAILED
    assert f"CERTIFICATE.pem expired on {in_days(-1):%Y-%m-%d}" in failed.text


def test_a_certificate_that_ends_within_14_days_is_a_warning(tmp_path: Path) -> None:
    authority = trustme.CA()
    with files(tmp_path, authority, authority.issue_cert("trivium", not_after=in_days(13.5))) as environ:
        warning, fine = certificate_findings(environ)
    assert (warning.status, fine.status) == (Status.WARNING, Status.OK)
    assert warning.text.endswith("in 13 days")


def test_a_key_of_another_certificate_is_a_failure(tmp_path: Path) -> None:
    authority = trustme.CA()
    with files(tmp_path, authority, authority.issue_cert("trivium")) as environ:
        authority.issue_cert("trivium").private_key_pem.write_to_path(tmp_path / "KEY.pem")
        [failed] = certificate_findings(environ)
    assert "KEY.pem is not the key of" in failed.text


def test_a_certificate_of_another_authority_is_a_failure(tmp_path: Path) -> None:
    with files(tmp_path, trustme.CA(organization_name="ours"), trustme.CA().issue_cert("trivium")) as environ:
        [failed] = certificate_findings(environ)
    assert failed.status is Status.FAILED
    assert "was not issued by a CA of" in failed.text
    assert "O=ours" in failed.text


def test_a_certificate_below_an_intermediate_authority_is_fine(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.create_child_ca().issue_cert("trivium")
    with files(tmp_path, authority, certificate) as environ:
        Path(environ["TRIVIUM_TLS_CERTIFICATE_PATH"]).write_bytes(
            b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        )
        assert [one.status for one in certificate_findings(environ)] == [Status.OK]


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        pytest.param(lambda path: path.unlink(), "No such file or directory", id="absent"),
        pytest.param(lambda path: path.write_text("none"), "holds no certificate in PEM", id="no-pem"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, damage: Callable[[Path], object], text: str) -> None:
    authority = trustme.CA()
    with files(tmp_path, authority, authority.issue_cert("trivium")) as environ:
        damage(tmp_path / "CA.pem")
        [failed] = certificate_findings(environ)
    assert failed.status is Status.FAILED
    assert "CA.pem" in failed.text
    assert text in failed.text


def test_one_file_of_three_is_a_failure() -> None:
    [failed] = certificate_findings({"TRIVIUM_TLS_CA_PATH": "/ca.pem"})
    assert failed.text.startswith("TRIVIUM_TLS_CERTIFICATE_PATH, TRIVIUM_TLS_KEY_PATH: ")
