"""What is known of corrupted images, in words."""

from robustcsc.cli.judged import judged_table
from robustcsc.corruptions.judging.candidates import Definition, Match, Ratio
from robustcsc.corruptions.judging.judge import Fit, Judgement, Named

TABLES = ("cifar10_c", "imagenet_c")


def judgement(named: Named, *fits: Fit, ratio: float | None = None, quality: int | None = None) -> Judgement:
    about = Definition("imagenet_c", named.corruption or "", named.severity or 0)
    ratios = () if ratio is None else (Ratio(about, ratio, 0.02),)
    return Judgement(named, 8, 0.0 if ratio == 0 else 100.0, quality, fits, ratios, 195)


def fit(table: str, corruption: str, severity: int) -> Fit:
    return Fit(Definition(table, corruption, severity), Match.ALIKE, 1.5)


def test_what_is_called_rightly_is_one_sentence_and_all_else_one_each() -> None:
    elastic, blur = Named("elastic_transform", 3), Named("gaussian_blur", 1)
    table = judged_table(
        [
            judgement(Named("fog", 2), fit("imagenet_c", "fog", 2), ratio=1.01, quality=85),
            judgement(
                Named("motion_blur", 4), fit("imagenet_c", "motion_blur", 5), fit("imagenet_c", "motion_blur", 4)
            ),
            judgement(elastic, fit("imagecorruptions", "elastic_transform", 3), ratio=0.55),
            judgement(blur, ratio=0.0),
            judgement(Named("brightness", 5), ratio=1.19),
            judgement(Named(), fit("cifar10_c", "snow", 1)),
            judgement(Named()),
        ],
        TABLES,
    )
    assert [it.heading for it in table.columns] == [
        *("corruption", "severity", "images", "follows", "match", "squared error", "of imagenet_c's", "JPEG")
    ]
    assert table.texts[0] == (
        "fog",
        "2",
        "8",
        "imagenet_c fog 2",
        "in distribution",
        "100.0",
        "1.01 ± 0.02",
        "quality 85",
    )
    assert [row[3] for row in table.texts[3:]] == ["clean images", "unknown", "cifar10_c snow 1", "unknown"]
    assert table.notes == (
        "1 of 7 follow imagenet_c as they are called, saved as JPEG of quality 85.",
        "1 of 7 follow imagenet_c as they are called.",
        "motion_blur 4 is also imagenet_c motion_blur 5: the two are one, or too few images tell them apart.",
        "elastic_transform 3 is not that of cifar10_c or imagenet_c (its squared error is 0.55 ± 0.02 of that of "
        "imagenet_c's): it follows imagecorruptions elastic_transform 3, in distribution.",
        "gaussian_blur 1 is the clean images: it changes none, as gaussian_blur 1 of torch-uncertainty 0.13 does.",
        "brightness 5 is unknown: it follows none of 195 definitions; its squared error is 1.19 ± 0.02 of that of "
        "imagenet_c's.",
        "The folder follows cifar10_c snow 1, in distribution.",
        "The folder is unknown: it follows none of 195 definitions; its squared error is 100.0.",
    )
