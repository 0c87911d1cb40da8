# Other weights, biases, equalized channels and types of codes: asked, put in force, taken back,
# joined with pins, kept in a session, and exported.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24
run
whatif /block4/dw/Conv --weights same --per-channel
whatif /block4/dw/Conv --weights s4 --least-error
whatif /block4/dw/Conv --weights s16 --per-tensor
whatif --correct-bias
whatif /block4/dw/Conv --rescale 32 --double-round
whatif --equalize --apply
run
whatif --correct-bias --apply
pin /block4/dw/Conv
run
whatif /block3/dw/Conv --codes s16 --method minmax --apply
whatif /block1/pw/Conv --weights u8 --per-tensor --asymmetric --least-error --apply
run
pins
history
evaluate --metric sqnr
export ${OUT}/edited.onnx
session save ${OUT}/kept.json
session open ${OUT}/kept.json
run
evaluate --metric sqnr
undo 4
evaluate --metric sqnr
sensitivity --images 2 --metric sqnr --top 3
undo
evaluate --metric sqnr
redo
pin *
evaluate --metric sqnr
undo
load int8 ${OUT}/edited.onnx
-whatif --equalize
evaluate --metric sqnr
-whatif --equalize --correct-bias
-whatif --weights s8 --per-channel --asymmetric
-whatif --rescale 16 --apply
-whatif /head/Softmax --weights s8
-whatif /block3/Add --equalize
-whatif /block4/dw/Conv --rescale 32
