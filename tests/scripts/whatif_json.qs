# args: --json
# The answers as data: figures estimated and measured, with their units; steps with what they did.
load pair samples/models/fp32.onnx samples/models/int8_qop.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 8
run
whatif /block4/dw/Conv --method mse
whatif /block4/dw/Conv --weights same --per-channel --apply
run
whatif /block4/dw/Conv --correct-bias
whatif /block4/dw/Conv --equalize
whatif /block4/dw/Conv --rescale 16
pins
history
