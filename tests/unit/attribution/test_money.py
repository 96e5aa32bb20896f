"""Exact sums, and splits that conserve."""

from __future__ import annotations

from collections import Counter
from decimal import ROUND_DOWN, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import CurrencyMismatch, InvalidAmount
from attribution.money import QUANTUM, Money, Weights, add, multiply, split, subtract, total
from tests.unit.attribution.strategies import amounts, finer_amounts, weights


def exact(amount: Decimal) -> Fraction:
    return Fraction(*amount.as_integer_ratio())


@given(amounts, amounts)
def test_a_sum_keeps_every_digit_of_both_amounts(left: Decimal, right: Decimal) -> None:
    result = add(left, right)

    assert exact(result) == exact(left) + exact(right)
    assert exact(subtract(result, right)) == exact(left)


@given(amounts, amounts)
def test_a_product_keeps_every_digit(left: Decimal, right: Decimal) -> None:
    assert exact(multiply(left, right)) == exact(left) * exact(right)


@given(st.lists(amounts))
def test_a_total_is_the_exact_sum_whatever_the_order(values: list[Decimal]) -> None:
    assert exact(total(values)) == sum((exact(v) for v in values), start=Fraction(0))
    assert total(values) == total(reversed(values))


@given(amounts | finer_amounts, weights)
def test_split_conserves_the_amount(amount: Decimal, weights: list[Decimal]) -> None:
    assert exact(total(split(amount, weights))) == exact(amount)


@given(amounts | finer_amounts, weights, st.lists(st.integers(0, 3), min_size=1))
def test_weights_that_go_together_get_what_their_shares_add_up_to(
    amount: Decimal, weights: list[Decimal], drawn: list[int]
) -> None:
    places = {number: place for place, number in enumerate(dict.fromkeys(drawn))}
    together = [places[drawn[position % len(drawn)]] for position in range(len(weights))]

    shares = Weights(weights, together).split(amount)

    apart = split(amount, weights)
    assert shares == [
        total(share for share, place in zip(apart, together, strict=True) if place == one) for one in range(max(together) + 1)
    ]


def split_in_decimals(amount: Decimal, weights: list[Decimal]) -> list[Decimal]:
    """The largest remainder method as a book has it, in decimals that never round."""
    context = Context(prec=200, rounding=ROUND_DOWN)
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    quantum = QUANTUM if exact(amount) % exact(QUANTUM) == 0 else Decimal(1).scaleb(exponent, context)
    whole = total(weights)
    numerators = [context.multiply(amount, weight) for weight in weights]
    shares = [context.quantize(context.divide(numerator, whole), quantum) for numerator in numerators]
    lost = [abs(exact(n) - exact(s) * exact(whole)) for n, s in zip(numerators, shares, strict=True)]
    rest = int((exact(amount) - sum(map(exact, shares))) / exact(quantum))
    for place in sorted(range(len(weights)), key=lambda i: (-lost[i], -exact(weights[i]), i))[: abs(rest)]:
        shares[place] = context.add(shares[place], quantum.copy_sign(amount))
    return shares


@given(amounts | finer_amounts, weights)
def test_a_split_in_whole_numbers_is_the_split_in_decimals_to_the_last_digit(amount: Decimal, weights: list[Decimal]) -> None:
    assert split(amount, weights) == split_in_decimals(amount, weights)


@given(amounts | finer_amounts, weights)
def test_no_share_is_a_quantum_or_more_away_from_its_exact_value(amount: Decimal, weights: list[Decimal]) -> None:
    shares = split(amount, weights)

    weight_total = sum((exact(w) for w in weights), start=Fraction(0))
    for share, weight in zip(shares, weights, strict=True):
        assert abs(exact(share) - exact(amount) * exact(weight) / weight_total) < exact(QUANTUM)


@given(st.integers(4, 40), st.integers(1, 9), st.integers(1, 10**6))
def test_many_equal_shares_of_an_amount_finer_than_the_scale_stay_within_a_quantum(count: int, places: int, units: int) -> None:
    amount = Decimal(f"{units}E-{18 + places}")

    shares = split(amount, [Decimal(1)] * count)

    assert total(shares) == amount
    assert all(abs(exact(share) - exact(amount) / count) < exact(QUANTUM) for share in shares)


@given(amounts, weights)
def test_no_share_has_more_decimal_places_than_the_scale(amount: Decimal, weights: list[Decimal]) -> None:
    assert all((exact(share) / exact(QUANTUM)).denominator == 1 for share in split(amount, weights))


@given(amounts, weights)
def test_shares_have_the_sign_of_the_amount(amount: Decimal, weights: list[Decimal]) -> None:
    assert all(share == 0 or (share < 0) == (amount < 0) for share in split(amount, weights))


@given(amounts, weights)
def test_a_weight_of_nothing_gets_nothing(amount: Decimal, weights: list[Decimal]) -> None:
    shares = split(amount, [*weights, Decimal(0)])

    assert shares[-1] == 0


@given(amounts, weights, st.randoms(use_true_random=False))
def test_shuffled_weights_shuffle_the_shares(amount: Decimal, weights: list[Decimal], random: object) -> None:
    shuffled = sorted(weights, key=lambda _: random.random())  # type: ignore[attr-defined]

    by_weight = Counter(zip(weights, split(amount, weights), strict=True))

    assert Counter(zip(shuffled, split(amount, shuffled), strict=True)) == by_weight


@given(amounts, weights)
def test_a_credit_is_split_like_the_charge_it_mirrors(amount: Decimal, weights: list[Decimal]) -> None:
    mirrored = [share.copy_negate() for share in split(amount, weights)]

    assert split(amount.copy_negate(), weights) == mirrored


def test_the_rest_goes_to_the_share_that_lost_most_by_rounding() -> None:
    shares = split(Decimal("0.000000000000000001"), [Decimal(1), Decimal(2), Decimal(1)])

    assert shares == [0, QUANTUM, 0]


def test_a_share_that_lost_nothing_gets_none_of_the_rest_however_large_its_weight() -> None:
    shares = split(2 * QUANTUM, [Decimal(2), Decimal(1), Decimal(1)])

    assert shares == [QUANTUM, QUANTUM, 0]


@pytest.mark.parametrize("weights", [[], [Decimal(0), Decimal(0)], [Decimal(2), Decimal(-1)]])
def test_an_amount_cannot_be_split_without_a_positive_weight(weights: list[Decimal]) -> None:
    with pytest.raises(InvalidAmount, match="cannot split an amount"):
        split(Decimal("1.5"), weights)


@pytest.mark.parametrize("amount", ["NaN", "Infinity"])
def test_only_a_finite_amount_can_be_split(amount: str) -> None:
    with pytest.raises(InvalidAmount, match="must be finite"):
        split(Decimal(amount), [Decimal(1)])


@pytest.mark.parametrize("amount", [1.5, 1, Decimal("NaN"), Decimal("Infinity"), "1"])
def test_money_is_a_finite_decimal(amount: object) -> None:
    with pytest.raises(InvalidAmount):
        Money(amount)  # type: ignore[arg-type]


def test_two_currencies_never_meet_in_one_sum() -> None:
    with pytest.raises(CurrencyMismatch, match="EUR with USD"):
        Money(Decimal(1)) + Money(Decimal(1), "EUR")

    with pytest.raises(CurrencyMismatch):
        Money(Decimal(1)) - Money(Decimal(1), "EUR")


def test_money_of_one_currency_adds_up_and_is_rounded_only_for_a_reader() -> None:
    spent = Money(Decimal("1234.005")) + Money(Decimal("0.0000008"))

    assert spent == Money(Decimal("1234.0050008"))
    assert spent - Money(Decimal("0.0000008")) == Money(Decimal("1234.005"))
    assert str(spent) == "1,234.01 USD"


def test_arithmetic_raises_rather_than_rounds() -> None:
    with pytest.raises(ArithmeticError):
        add(Decimal("1E+90"), Decimal("1E-18"))
