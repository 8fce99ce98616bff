"""What the codes of findings mean: every code that a rule can give, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .doubt import FailedCondition

Code = Literal[
    # Can it be loaded and run at all?
    "no-runtime",
    "opset-too-new",
    "ir-version-too-new",
    "runtime-too-old",
    "runtime-refuses",
    "custom-operator",
    "select-tf-operator",
    "optimized-for-host",
    "tflite-runtime-wrong-result",
    # Operators against the runtime's kernels
    FailedCondition,
    "operator-unknown",
    # Accelerators
    "accelerator-fallback",
    "accelerator-border",
    "accelerator-condition",
    "accelerator-precision",
    "accelerator-unknown",
    "accelerator-unreachable",
    "accelerator-not-asked",
    "accelerator-not-compiled",
    "accelerator-cache",
    # Size and memory
    "external-data",
    "file-too-large",
    "flash-near-limit",
    "arena-not-measured",
    "memory-over-limit",
    "memory-near-limit",
    # Speed and exactness
    "dynamic-shapes",
    "float16-without-arithmetic",
    "float16-weights",
    "float64",
    "dynamic-convolution",
    "signed-activations",
    "unsigned-weights",
    "saturating-weights",
    "wide-activations",
    "four-bit-convolution",
    "int8-without-dot-product",
    "float-input-output",
]


@dataclass(frozen=True)
class Meaning:
    """What `edgewright explain CODE` and docs/checking.md say.

    Attributes:
        title: a few words.
        meaning: what is wrong, and what it leads to.
        remedy: what helps in general; a finding's own remedy is more precise.
    """

    title: str
    meaning: str
    remedy: str


_REPLACE = "Replace the layer by one that is supported, or choose another runtime or device."
_INT8 = "Quantize the whole model to int8 with static ranges: `--recipe int8-s8s8`."

CODES: dict[Code, Meaning] = {
    "no-runtime": Meaning(
        "no runtime reads the format",
        "None of the device's runtimes, or not the one that was chosen, reads this format.",
        "Export the source model in the format that the finding names.",
    ),
    "opset-too-new": Meaning(
        "ONNX operator set too new",
        "The oldest ONNX Runtime assumed for the device refuses models with this opset.",
        "Export with the older opset that the finding names, or use a newer ONNX Runtime there.",
    ),
    "ir-version-too-new": Meaning(
        "ONNX file format too new",
        "The oldest ONNX Runtime assumed for the device refuses files of this IR version.",
        "Write the file with an older ir_version, or use a newer ONNX Runtime there.",
    ),
    "runtime-too-old": Meaning(
        "TFLite runtime too old",
        "The file asks for a newer TFLite runtime than the oldest assumed for the device.",
        "Use a newer runtime there, or convert with an older converter.",
    ),
    "runtime-refuses": Meaning(
        "the runtime on this machine refuses the model",
        "The tables say yes to every node, and the runtime that was asked on this machine still "
        "does not load the model: shapes, attributes or scales contradict each other. Of another "
        "release than the device's that is a warning.",
        "Load the model with the runtime on your own machine, and export it again.",
    ),
    "custom-operator": Meaning(
        "custom operator without code",
        "The operator is not part of the runtime; it would need a library of its own, which "
        "Edgewright does not bring to the device.",
        "Replace it by standard operators.",
    ),
    "select-tf-operator": Meaning(
        "TensorFlow operator in a TFLite file",
        "The operator runs in TensorFlow only (Select TF ops); the device's runtime does not "
        "contain TensorFlow's kernels.",
        "Convert with TFLITE_BUILTINS alone, and replace what does not convert.",
    ),
    "optimized-for-host": Meaning(
        "optimized for another processor",
        "ONNX Runtime's optimizer put in operators for the processor that it ran on.",
        "Save the model before it is optimized; each device optimizes for itself.",
    ),
    "tflite-runtime-wrong-result": Meaning(
        "computed wrongly without an error",
        "tflite_runtime 2.14 gives wrong results for this quantization, without an error.",
        "Run it with ai_edge_litert, or quantize statically.",
    ),
    "operator-not-supported": Meaning(
        "the runtime has no kernel",
        "The runtime does not have this operator: loading the model fails.",
        _REPLACE,
    ),
    "operator-too-new": Meaning(
        "operator newer than the runtime",
        "The oldest version of the runtime that is assumed for the device does not have it yet.",
        "Use a newer runtime there, or export the layer in another way.",
    ),
    "operator-version-too-new": Meaning(
        "version of a TFLite operator too new",
        "The runtime has the operator, but in an older version than the file uses: loading fails.",
        "Use a newer runtime there, or convert with an older converter.",
    ),
    "operator-opset-not-supported": Meaning(
        "operator of another opset",
        "The operator is supported only in the form that other ONNX opsets give it.",
        "Export with one of the opsets that the finding names.",
    ),
    "type-not-supported": Meaning(
        "no kernel for the type",
        "The operator is supported, but not with these element types.",
        f"{_INT8} Or keep the layer in float32 where that is supported.",
    ),
    "rank-not-supported": Meaning(
        "too many or too few dimensions, or too large a batch",
        "The operator is supported, but not for tensors with so many dimensions, so many of them "
        "larger than 1, or so large a batch.",
        "Reshape before and after the layer, export with batch 1, or replace it.",
    ),
    "shape-not-supported": Meaning(
        "sizes of dimensions, or shapes that differ",
        "The operator is supported, but not for tensors of this size, or not where the shapes"
        " of its inputs and outputs differ like this.",
        "Change the sizes that the finding names, or reshape before and after the layer.",
    ),
    "axis-not-supported": Meaning(
        "along another dimension",
        "The operator is supported, but not along this dimension (that it reduces, joins, "
        "pads or resizes).",
        "Reshape or transpose before and after the layer, or replace it.",
    ),
    "input-not-constant": Meaning(
        "an input has to be constant",
        "The operator is supported only where one of its inputs is stored in the file.",
        "Export with fixed sizes and weights, so that the converter can fold the input.",
    ),
    "value-not-supported": Meaning(
        "a constant of the layer",
        "The operator is supported, but not with what one of its constant inputs holds: a "
        "bound, a step, an amount.",
        "Build the layer with a supported value.",
    ),
    "operands-not-supported": Meaning(
        "other inputs or outputs",
        "The operator is supported, but not where an input is constant, is there twice, or "
        "where it gives further outputs.",
        "Build the layer in the form that the finding names.",
    ),
    "neighbour-not-supported": Meaning(
        "what stands before or behind",
        "The operator is supported only between certain others, with which it is fused.",
        "Replace it together with what stands beside it.",
    ),
    "per-channel-not-supported": Meaning(
        "granularity of the weights' scales",
        "Weights are quantized per channel where one scale is needed, or the other way round.",
        "Quantize with the granularity that the finding names.",
    ),
    "scales-not-supported": Meaning(
        "scales and zero points",
        "The operator is supported, but not with these scales or zero points: too many, zero "
        "points other than 0, or others for its inputs than for its outputs.",
        "Quantize with the scales that the finding names, or leave the layer in floating point.",
    ),
    "attribute-not-supported": Meaning(
        "a setting of the layer",
        "The operator is supported, but not with this value of one of its attributes.",
        "Build the layer with a supported value.",
    ),
    "dynamic-shape-not-supported": Meaning(
        "open dimensions",
        "Sizes have to be known before the model is run.",
        "Export with fixed shapes, one model for each size that is needed.",
    ),
    "control-flow-not-supported": Meaning(
        "branches and loops",
        "If, While and Loop are not supported.",
        "Unroll the loop, or run the parts as models of their own.",
    ),
    "not-full-integer": Meaning(
        "floating point where integers are needed",
        "Every operator has to be quantized to integers, and this one computes in floating point.",
        _INT8,
    ),
    "operator-unknown": Meaning(
        "nobody says whether it runs",
        "No table and no runtime on this machine says whether the device's runtime can run it.",
        "Measure on the device: `edgewright profile`.",
    ),
    "accelerator-fallback": Meaning(
        "runs on the CPU instead of the accelerator",
        "The device promises an accelerator (or --accelerator names it), and this operator does "
        "not run there: data go to the CPU and back, which often costs more than was won.",
        "Change the layer as the finding says, or admit it: `--allow-fallback SHARE` (of the "
        "MACs), `--accelerator none`.",
    ),
    "accelerator-border": Meaning(
        "conversions at the model's border",
        "Inputs are quantized, or outputs dequantized, on the CPU. That costs little.",
        "Let inputs and outputs have the accelerator's type to save the time.",
    ),
    "accelerator-condition": Meaning(
        "it runs on the accelerator on a condition that nobody checked",
        "The table counts the operator as supported, and its source names a condition that can't "
        "be read off the model here. Where it does not hold, the operator falls back to the CPU.",
        "Compare the condition with the layer, or measure on the device.",
    ),
    "accelerator-precision": Meaning(
        "floating point on an accelerator of integers",
        "The delegate or compiler takes the layers, but the accelerator computes with integers "
        "alone. Some compilers quantize them by themselves, and how exact that is shows on the "
        "device only; of others nobody says whether they are quantized on the way, computed slowly "
        "or elsewhere.",
        "Quantize the model to int8 with static ranges, or calibrate the compiler that does it; "
        "measure on the device.",
    ),
    "accelerator-unknown": Meaning(
        "nobody says whether the accelerator takes it",
        "No table and no compiler on this machine says whether it runs there. It may fall back.",
        "Measure on the device, with and without the accelerator.",
    ),
    "accelerator-unreachable": Meaning(
        "no way from this model to the accelerator",
        "The delegates and compilers that reach the accelerator read another format, or need "
        "another runtime.",
        "Export in the format that the finding names, or choose `--accelerator none`.",
    ),
    "accelerator-not-asked": Meaning(
        "the compiler was not asked",
        "The program that knows better than a table could not be asked on this machine.",
        "Install what the finding names.",
    ),
    "accelerator-not-compiled": Meaning(
        "not compiled for the accelerator",
        "The accelerator runs models that its compiler made; this one runs on the CPU as it is.",
        "Compile it with the command that the finding names, and deploy what that makes.",
    ),
    "accelerator-cache": Meaning(
        "more weights than the accelerator keeps",
        "Weights that its memory has no room for are fetched over the bus at each inference, which "
        "can cost more time than computing with them.",
        "Choose a model with fewer or narrower layers, or measure on the device.",
    ),
    "file-too-large": Meaning(
        "file too large",
        "The file is bigger than the device's limit, or than its flash memory.",
        "Quantize weights to 8 or 4 bits, or choose a smaller model.",
    ),
    "external-data": Meaning(
        "weights in other files",
        "The model keeps its weights beside itself. Edgewright deploys and measures single files, "
        "and applications that load a model from memory do not find them.",
        "Write one file: `edgewright export MODEL --target NAME --precision float32 -o DIR`; "
        "below 2 GB.",
    ),
    "flash-near-limit": Meaning(
        "flash nearly full",
        "Programs share the flash memory with the model.",
        "Quantize weights to 8 or 4 bits, or choose a smaller model.",
    ),
    "arena-not-measured": Meaning(
        "the arena is an estimate",
        "TFLite Micro's interpreter could not be asked how large an arena the model takes.",
        "Install what the finding names.",
    ),
    "memory-over-limit": Meaning(
        "memory over the limit",
        "Weights, activations and the runtime need more memory than the model may use.",
        "Quantize, make inputs smaller, or choose a smaller model.",
    ),
    "memory-near-limit": Meaning(
        "memory near the limit",
        "The estimate comes near to what the model may use; runtimes hold copies beside it.",
        "Measure on the device; quantize, or make inputs smaller.",
    ),
    "dynamic-shapes": Meaning(
        "open dimensions",
        "Work and memory depend on sizes given at run time; some kernels are slower then.",
        "Export with fixed shapes.",
    ),
    "float16-without-arithmetic": Meaning(
        "float16 on cores that lack it",
        "The cores convert float16 to float32 and back for every operator.",
        "Keep float32, or quantize to int8.",
    ),
    "float16-weights": Meaning(
        "float16 weights on cores that lack it",
        "The file is smaller; the inference is not faster.",
        "Quantize to int8 where speed matters.",
    ),
    "float64": Meaning(
        "computes in float64",
        "Twice the memory, and no fast kernels.",
        "Convert the model to float32 before it is exported.",
    ),
    "dynamic-convolution": Meaning(
        "convolution with dynamic ranges",
        "Activations of convolutions are quantized at run time, which is slower than float.",
        "Quantize convolutions statically.",
    ),
    "signed-activations": Meaning(
        "int8 activations on x86",
        "ONNX Runtime's fast kernels on x86-64 multiply uint8 activations with int8 weights.",
        "Export for this target: `--recipe int8-u8s8` (7 bits without VNNI).",
    ),
    "unsigned-weights": Meaning(
        "uint8 weights on x86",
        "x86-64 has no instruction for them.",
        "Quantize weights to int8.",
    ),
    "saturating-weights": Meaning(
        "sums saturate",
        "Without VNNI, sums of uint8 times full-range int8 products overflow 16 bits: results "
        "differ from other processors'.",
        "Quantize weights to 7 bits: `--recipe int8-u8s8-7bit`.",
    ),
    "wide-activations": Meaning(
        "16-bit activations",
        "No runtime has fast kernels for them on CPUs.",
        "Use 8 bits, and 16 or float for the few layers that need it.",
    ),
    "four-bit-convolution": Meaning(
        "4-bit weights of convolutions",
        "No runtime has fast kernels for them on CPUs, and 4 bits are too few for most.",
        "Quantize convolutions to 8 bits.",
    ),
    "int8-without-dot-product": Meaning(
        "int8 on cores that lack the instruction",
        "Without a dot product instruction (ARM's SDOT, x86's VNNI) int8 gains less speed.",
        "Measure both: `edgewright profile FLOAT32_MODEL INT8_MODEL --device DEVICE`.",
    ),
    "float-input-output": Meaning(
        "float inputs and outputs of an integer model",
        "The microcontroller converts them itself: two more operators, four times the buffers.",
        "Convert with int8 inputs and outputs.",
    ),
}
