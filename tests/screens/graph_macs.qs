# The graph by the products of its layers, and the way round through the metrics.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
key 4
select color macs
screen --size 80x24 --ascii
key c C c
screen --size 80x24 --ascii
