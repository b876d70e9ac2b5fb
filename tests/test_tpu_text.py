"""What a report on a program for a TPU reads from its text."""

from tpu_text import Operation, operations, shares

LINE = """  ROOT %{name} = bf16[8,4,4,128]{{3,0,2,1}} fusion(%a), kind=kLoop, \
metadata={{op_name="{op}" stack_frame_id=1}}, backend_config={{"estimated_cycles":"{cycles}"}}"""
FILTER = "jit(f)/jvp(Generator.synthesize)/synthesis/block_8/layer_0/jit(_apply)/cond/{}/{}"
NAMES = {
    FILTER.format("transpose(jvp(plain_filter))", "conv_general_dilated"): 30,
    FILTER.format("plain_convolve", "conv_general_dilated"): 50,
    "jit(f)/transpose(jvp(Discriminator))/block_4/jit(leaky_relu)/mul": 15,
    "jit(f)/add": 5,
}
TEXT = "\n".join(
    [LINE.format(name=f"fusion.{i}", op=op, cycles=NAMES[op]) for i, op in enumerate(NAMES)]
    + ['  %copy = f32[2]{0} copy(%b), metadata={op_name="jit(f)/copy"}']
)


def test_cycles_are_summed_by_class_and_by_layer():
    found = list(operations(TEXT))
    assert [one.cycles for one in found] == [30, 50, 15, 5]
    assert found[0].instruction.startswith("%fusion.0 bf16[8,4,4,128]")
    by_class = shares((one.kind(), one.cycles) for one in found)
    assert by_class == [
        ("convolution", 50),
        ("FIR filter", 30),
        ("discriminator, other", 15),
        ("other", 5),
    ]
    by_layer = dict(shares((one.layer(), one.cycles) for one in found))
    assert by_layer == {"Generator block_8": 80, "Discriminator block_4": 15, "other": 5}


def test_a_name_that_nobody_knows_is_other():
    assert Operation(1, "%x", "").kind() == Operation(1, "%x", "").layer() == "other"
