"""Every registered part has a test of what it means, against a truth that is not its own code."""

import ast
from pathlib import Path

import pytest

from featvis.spec import register

TESTS = Path(__file__).parent.parent
PROVED = {
    "images/alpha": ("images/test_alpha.py", "test_only_what_the_unit_looks_at_is_opaque"),
    "images/clipped": ("images/test_clipped.py", "test_the_faintest_pixels_are_grey"),
    "images/cppn": ("images/test_cppn.py", "test_t33_every_pixel_is_its_pictures_own_network"),
    "images/deep": ("images/test_deep.py", "test_it_takes_to_shapes_and_not_to_noise"),
    "images/filtered_pyramid": ("images/test_pyramid.py", "test_a_run_of_sgd_gives_the_same_pictures"),
    "images/fourier": ("images/test_fourier.py", "test_decode_is_the_sum_of_its_waves"),
    "images/mask": ("images/test_around.py", "test_outside_a_mask_every_bit_is_the_start_image_s"),
    "images/norm_ball": (
        "images/test_around.py",
        "test_a_linear_unit_s_optimum_is_the_ball_s_point_along_its_weights",
    ),
    "images/phase": ("images/test_phase.py", "test_the_raw_image_is_the_sum_of_its_waves"),
    "images/pixel": ("images/test_pixel.py", "test_every_value_is_the_sigmoid_of_its_pixels_mixed_channels"),
    "images/pyramid": ("images/test_pyramid.py", "test_decode_is_the_sum_of_interpolated_levels"),
    "images/shared": (
        "images/test_shared.py",
        "test_a11_a_picture_is_its_own_image_and_its_mixture_of_what_is_shared",
    ),
    "images/video": (
        "images/test_video.py",
        "test_frames_stand_one_after_another_and_each_is_an_image_of_the_inner_space",
    ),
    "transforms/blur": ("transforms/test_blur_flip_crop.py", "test_blur_is_scipys_inside"),
    "transforms/color_jitter": (
        "transforms/test_colors.py",
        "test_factors_are_torchvisions_where_it_does_not_clip",
    ),
    "transforms/color_shift": ("transforms/test_colors.py", "test_ghiasis_color_shift"),
    "transforms/crop": ("transforms/test_blur_flip_crop.py", "test_crop_is_what_pil_cuts_out_and_resizes"),
    "transforms/flip": ("transforms/test_blur_flip_crop.py", "test_flip_mirrors_columns_and_rows"),
    "transforms/kornia": (
        "transforms/test_own_and_kornia.py",
        "test_a_picture_gets_what_kornia_gives_it_alone_after_its_seed",
    ),
    "transforms/multicrop": (
        "transforms/test_blur_flip_crop.py",
        "test_multicrop_boxes_shrink_over_the_run_about_the_middle",
    ),
    "transforms/noise": ("transforms/test_noise.py", "test_its_values_are_normal"),
    "transforms/tile": (
        "transforms/test_tile.py",
        "test_a_tile_is_the_canvas_s_pixels_and_goes_on_at_the_opposite_edge",
    ),
    "transforms/warp": (
        "transforms/test_warp.py",
        "test_it_agrees_with_kornia_on_a_canvas_that_is_not_square",
    ),
    "objectives/alpha": ("images/test_alpha.py", "test_t38_one_pictures_alpha_does_not_move_anothers_score"),
    "objectives/batchnorm": ("objectives/test_penalties.py", "test_batchnorm_distance_follows_its_formula"),
    "objectives/blur": ("objectives/test_borders.py", "test_d4_blur_is_half_the_distance_from_the_blurred"),
    "objectives/boundary": ("objectives/test_borders.py", "test_d5_the_boundary_is_the_border_alone"),
    "objectives/local_contrast": ("objectives/test_penalties.py", "test_a_penalty_follows_its_formula"),
    "objectives/colorfulness": ("objectives/test_penalties.py", "test_a_penalty_follows_its_formula"),
    "objectives/confidence": ("objectives/test_confidence.py", "test_it_follows_its_formula"),
    "objectives/contrast": ("objectives/test_penalties.py", "test_a_penalty_follows_its_formula"),
    "objectives/diversity": ("objectives/test_sets.py", "test_t04_c10_diversity_is_the_double_loop"),
    "objectives/l1": ("objectives/test_penalties.py", "test_a_penalty_follows_its_formula"),
    "objectives/l2": ("objectives/test_penalties.py", "test_a_penalty_follows_its_formula"),
    "objectives/linf": ("objectives/test_borders.py", "test_d2_linf_is_the_farthest_pixel"),
    "objectives/lp": ("objectives/test_borders.py", "test_d2_lp_is_the_mean_of_powers"),
    "objectives/rivals": ("objectives/test_rivals.py", "test_each_lane_leaves_out_its_own_class"),
    "objectives/total_variation": ("objectives/test_penalties.py", "test_a_penalty_follows_its_formula"),
}
"""A new part has its line here: the one test that would notice that it does something else."""


@pytest.mark.parametrize("family", register.FAMILIES)
def test_every_part_has_one(family):
    assert {name for name in PROVED if name.startswith(f"{family}/")} == {
        f"{family}/{name}" for name in register.names(family)
    }


@pytest.mark.parametrize("part", PROVED)
def test_it_is_there(part):
    file, name = PROVED[part]
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
