"""The traits of the methods agree with the parameters' own list."""

from typing import get_args

from pipeline.models.methods import METHODS
from pipeline.sections import WITH_TEXT, Method


def test_every_method_has_traits():
    assert set(METHODS) == set(get_args(Method))
    assert {method for method, traits in METHODS.items() if traits.text} == set(WITH_TEXT)


def test_only_methods_with_text_have_tr_modules_or_views():
    assert all(traits.text for traits in METHODS.values() if traits.tr or traits.breasts)
    assert {method for method, traits in METHODS.items() if traits.teacher} == {"dino", "byol"}
