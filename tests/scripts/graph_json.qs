# args: --json
# The same for programs.
load pair samples/models/fp32.onnx samples/models/int8_qop.onnx
pin /block4/dw/Conv
graph /block4/dw/Conv --depth 1
path /block4/dw/Conv /block4/pw/Conv
