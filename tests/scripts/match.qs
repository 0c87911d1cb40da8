# What was matched with what, and by hand.
load pair samples/models/fp32.onnx samples/models/int8_qop.onnx
info
match
match --unmatched
