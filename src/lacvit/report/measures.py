"""What each figure of `evaluation/geometry.json` is called and means, in one line."""

from __future__ import annotations

ERROR = "_error"  # ends the name of the standard error beside a figure that rests on a sample
# name -> (title, explanation). `quality` figures are shares; all others are plain numbers.
GEOMETRY: dict[str, tuple[str, str]] = {
    "mean_cosine": (
        "Mean cosine",
        "Of two test images: the cone. 0 is none, 1 all images in one direction.",
    ),
    "mean_cosine_centred": (
        "Mean cosine, centred",
        "The mean embedding subtracted first: what is left when the shared offset is gone.",
    ),
    "cosine_within": ("Mean cosine within classes", "Of two images of one class."),
    "cosine_between": ("Mean cosine between classes", "Of two images of different classes."),
    "iso_score": (
        "IsoScore",
        "The spectrum: how evenly variance fills all directions; 0 is one of them, 1 all alike.",
    ),
    "iso_score_within": (
        "IsoScore within classes",
        "The same about the class means: how evenly images of one class are spread.",
    ),
    "iso_score_star": ("IsoScore*", "IsoScore of a covariance drawn towards even; steadier."),
    "participation_ratio": ("Participation ratio", "How many directions carry the variance."),
    "participation_ratio_within": (
        "Participation ratio within classes",
        "How many directions carry what is left about the class means.",
    ),
    "effective_rank": ("Effective rank", "How many directions are used, small ones too."),
    "rank_me": ("RankMe", "Effective rank with the shared offset left in."),
    "partition_isotropy": (
        "Partition isotropy",
        "How alike directions see the images; 1 is isotropic. It sees the cone most.",
    ),
    "alignment": (
        "Alignment",
        "Mean squared distance of two images of one class, at length 1; 0 is a collapsed class.",
    ),
    "uniformity": (
        "Uniformity",
        "How evenly images fill the sphere: the lower the more evenly; 0 is a single point.",
    ),
    "cdnv": (
        "CDNV",
        "Spread within classes over the distance between them; the lower the clearer.",
    ),
    "class_separation": ("Class separation", "Share of the cosine distance between classes."),
    "silhouette": ("Silhouette", "How much nearer its own class is than the next; -1 to 1."),
    "nc1": ("Neural collapse 1", "Spread within classes against between; 0 is collapse."),
    "nc1_ratio": ("Neural collapse 1, ratio", "The same as a ratio of traces."),
    "nc2_norms": ("Neural collapse 2, lengths", "How unequally long class means are."),
    "nc2_angles": ("Neural collapse 2, angles", "How unequal the angles between them are."),
    "nc2_simplex": ("Neural collapse 2, simplex", "How far they are from a regular simplex."),
    "nc3": ("Neural collapse 3", "How far the head's weights are from the class means."),
    "nc4": ("Neural collapse 4", "Share of images where the nearest mean says otherwise."),
    "hubness_skewness": (
        "Hubness, skewness",
        "Whether a few images are everybody's neighbours; near 0 is none.",
    ),
    "hubness_robin_hood": ("Hubness, Robin Hood", "Share of neighbours to move to even it out."),
    "antihubs": ("Antihubs", "Share of images that are nobody's neighbour."),
    "dimension_mle": ("Intrinsic dimension", "How many ways images vary nearby (MLE)."),
    "dimension_two_nn": ("Intrinsic dimension, TwoNN", "The same from two neighbours each."),
    "cka": (
        "CKA to the pretrained encoder",
        "Likeness of the two spaces; 1 is the same up to rotation and scale.",
    ),
    "cka_biased": ("CKA, biased", "The same, as it is often given; high where images are few."),
}
QUALITY: dict[str, tuple[str, str]] = {
    "knn_1": ("k-NN, k = 1", "Test images named rightly by the nearest training image."),
    "knn_5": ("k-NN, k = 5", "By a vote of the five nearest."),
    "knn_20": ("k-NN, k = 20", "By a vote of the twenty nearest."),
    "nearest_class_mean": ("Nearest class mean", "By the nearest mean of a class."),
    "recall_at_1": ("R@1", "The nearest other test image shows the same class."),
    "recall_at_10": ("R@10", "One of the ten nearest does."),
    "map_at_r": ("MAP@R", "How much of its class stands nearest, in order."),
    "few_shot_1": ("One-shot probe", "A probe trained on one image a class."),
    "few_shot_5": ("Five-shot probe", "A probe trained on five images a class."),
    "nmi": ("NMI", "Agreement of k-means clusters with the classes."),
    "ari": ("ARI", "The same, corrected for chance."),
}
