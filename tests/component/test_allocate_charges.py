"""x"""
from tests.support.stack import Stack, load_event

def test_a(stack: Stack) -> None:
    print(stack.run("allocate_charges", load_event("allocate_charges")))
    print(stack.log.getvalue())
    for i in stack.items("LedgerTable"): print(i)
    print(stack.sent("BudgetQueue"))
