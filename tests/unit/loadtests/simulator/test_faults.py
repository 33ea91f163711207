"""How one request orders a fault."""

import pytest

from loadtests.simulator.faults import MAX_NUMBER, Fault, FaultOrder, UnknownFault, order_from_header, order_from_model


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_can_be_ordered_by_header_and_by_model(fault: Fault) -> None:
    assert order_from_header(f"{fault}") == FaultOrder(fault)
    assert order_from_header(f" {fault} ; n = 7 ") == FaultOrder(fault, 7)
    assert order_from_model(f"sim-fault-{fault}") == FaultOrder(fault)
    assert order_from_model(f"sim-fault-{fault}-7") == FaultOrder(fault, 7)


@pytest.mark.parametrize("model", ["simulator", "gpt-4o", "", "a-sim-fault-hang"])
def test_a_usual_model_orders_no_fault(model: str) -> None:
    assert order_from_model(model) is None


@pytest.mark.parametrize("value", ["explode", "", "hang; n=x", "hang; m=3", "hang n=3"])
def test_a_header_that_names_no_fault_is_refused(value: str) -> None:
    with pytest.raises(UnknownFault):
        order_from_header(value)


@pytest.mark.parametrize("model", ["sim-fault-", "sim-fault-explode", "sim-fault-hang-many", "sim-fault-HANG"])
def test_a_model_that_orders_no_known_fault_is_refused_rather_than_answered_well(model: str) -> None:
    with pytest.raises(UnknownFault):
        order_from_model(model)


def test_an_order_is_bounded() -> None:
    assert order_from_header("huge_chunk; n=9999999") == FaultOrder(Fault.HUGE_CHUNK, MAX_NUMBER)
