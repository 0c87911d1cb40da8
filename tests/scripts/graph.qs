# The graph of both models as text, and ways through it.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
graph
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
set ascii on
graph /block2/dw/Conv --depth 2 --color cosine
graph --one-sided
path /block3/Add /block2/pw/Conv
graph --dot ${OUT}/net.dot
-path no-such-layer /stem/Conv
# One model alone.
unload ; load int8 samples/models/int8_qop.onnx
graph --quantizers
