# tour.qs: the whole walk, from two files and a folder of images to a repaired model on disk.
# Run from the project's root: build/qscope --batch -x samples/scripts/tour.qs

# 1. Both models, the images with their labels, and how a pixel becomes an input value.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images

# 2. Both models on every image: how bad is it, which layers are worst, whom does it hit?
run
layers --sort sqnr --top 8
worst 5

# 3. In network order the figures fall twice, at two depthwise convolutions; what follows inherits.
layers --sort none
layer /block4/dw/Conv

# 4. The worst one back to FP32; what is left is the other one's; both.
pin /block4/dw/Conv
run
layers --sort sqnr --top 4
pin /block3/dw/Conv
run
layers --sort sqnr --top 4
evaluate

# 5. The repaired model, and the same list for the tool that made the INT8 file.
export build/shapes_mixed.onnx --force
export-pins build/shapes_pins.json --as ort

# 6. The gate of a CI job: ends with exit code 4 when it does not hold.
assert top1_drop <= 2.0 --message "the pinned model has lost too much"
