"""Each kind of problem is told once, with the recordings that it concerns."""

from rsc2p_kedro.core.problems import group_problems, name_recordings


def test_few_recordings_are_named_and_many_are_counted():
    assert name_recordings(["a.1", "a.2"]) == "a.1, a.2"
    assert name_recordings([f"a.day_{n}" for n in range(1, 8)]) == "a.day_1 ... day_7 (7 recordings)"
    names = [f"m{animal}.day_{n}" for animal in range(1, 6) for n in range(1, 8)]
    assert name_recordings(names) == "m1.day_1 ... m5.day_7 (35 recordings)"


def test_the_same_problem_of_several_recordings_is_one_line():
    problems = {"a.1": ["x: is missing", "y: is wrong"], "a.2": ["x: is missing"], "": ["z"], "a.3": []}
    assert group_problems(problems) == ["x: is missing [a.1, a.2]", "y: is wrong [a.1]", "z"]


def test_problems_that_differ_in_values_and_files_are_of_one_kind_unless_each_is_asked_for():
    problems = {f"a.{n}": [f"frame_{n}.tif is too short, given '{n}'"] for n in range(1, 5)}
    assert group_problems(problems) == ["frame_1.tif is too short, given '1' [a.1 ... 4 (4 recordings), or similarly]"]
    assert len(group_problems(problems, each=True)) == 4


def test_more_problems_of_a_kind_than_recordings_are_counted():
    assert group_problems({"": ["1 is", "2 is"]}) == ["1 is (and 1 more of this kind)"]
    assert group_problems({"a.1": ["1 is", "2 is"]}) == ["1 is [a.1, or similarly, 2 of this kind in all]"]
