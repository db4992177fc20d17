# SPDX-License-Identifier: Apache-2.0
import pytest

from nopal_api.conditions import MESSAGE_LIMIT, Condition, condition, find, is_true, stamp

OLD, NOW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def ready(status: bool, reason: str = "Seen", time: str = "") -> Condition:
    made = condition("Ready", status, reason=reason)
    return made.model_copy(update={"last_transition_time": time})


def test_a_condition_takes_a_bool_or_a_word() -> None:
    assert condition("Ready", True, reason="Seen").status == "True"
    assert condition("Ready", False, reason="Seen").status == "False"
    assert condition("Ready", "Unknown", reason="Seen").status == "Unknown"


def test_a_long_message_is_cut_so_that_it_is_accepted() -> None:
    cut = condition("Ready", False, reason="Seen", message="x" * 5000).message
    assert len(cut) == MESSAGE_LIMIT
    assert cut.endswith("...")
    whole = "x" * MESSAGE_LIMIT
    assert condition("Ready", False, reason="Seen", message=whole).message == whole


def test_no_generation_is_left_out_on_the_wire() -> None:
    assert "observedGeneration" not in condition("Ready", True, reason="Seen").wire()
    assert condition("Ready", True, reason="Seen", generation=3).wire()["observedGeneration"] == 3


def test_the_time_stays_while_the_status_does() -> None:
    (same,) = stamp([ready(True, "Other")], [ready(True, time=OLD)], now=NOW)
    assert (same.reason, same.last_transition_time) == ("Other", OLD)


def test_the_time_is_new_when_the_status_is() -> None:
    (turned,) = stamp([ready(False)], [ready(True, time=OLD)], now=NOW)
    assert turned.last_transition_time == NOW


def test_the_time_is_set_where_there_was_none() -> None:
    assert stamp([ready(True)], [], now=NOW)[0].last_transition_time == NOW
    assert stamp([ready(True)], [ready(True, time="")], now=NOW)[0].last_transition_time == NOW


def test_what_is_not_wanted_any_more_goes() -> None:
    other = condition("Other", True, reason="Seen")
    assert [c.type for c in stamp([ready(True)], [other], now=NOW)] == ["Ready"]


def test_find_and_is_true() -> None:
    conditions = [ready(True), condition("Other", "Unknown", reason="Seen")]
    assert find(conditions, "Other") == conditions[1]
    assert find(conditions, "None") is None
    assert is_true(conditions, "Ready")
    assert not is_true(conditions, "Other")
    assert not is_true(conditions, "None")


@pytest.mark.parametrize("reason", ["", "two words", "lower", "Has-dash"])
def test_a_reason_is_one_word(reason: str) -> None:
    with pytest.raises(ValueError, match="reason"):
        condition("Ready", True, reason=reason)
