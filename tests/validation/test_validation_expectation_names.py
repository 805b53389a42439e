from __future__ import annotations

from modelworks.validation.expectation_names import unknown_expectations


def test_unknown_name_gets_the_nearest_suggestion() -> None:
    assert unknown_expectations(["expect_column_to_exist"]) == ()
    assert unknown_expectations(["expect_colum_to_exist", "ExpectColumnMeanToBeBetween", "xyz"]) == (
        "there is no expectation 'expect_colum_to_exist'; did you mean expect_column_to_exist?",
        "there is no expectation 'ExpectColumnMeanToBeBetween'; did you mean expect_column_mean_to_be_between?",
        "there is no expectation 'xyz'",
    )
