# What was matched with what, and by hand.
load pair samples/models/fp32.onnx samples/models/int8_qop.onnx
info
info fp32
info /stem/Conv
match
match --unmatched
