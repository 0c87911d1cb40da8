# stderr
# Images ranked, one image in detail, accuracy.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images
run
worst 5
images --sort sqnr --top 3
images --flips lost
image star_0.png
evaluate
images --where 'sqnr < 10 && flip == lost && label == star' --top 2
-images --where 'nonsense < 3'
# @N is a row of the last listing, also of one that leaves images out; then of the view's order.
images --where 'label == ring' --top 2
image @1
-image @3
dump /stem/Conv --image @2 --out ${OUT}/ranked --json
sort images sqnr
image @1
-image star_*
-layer /stem/Conv --image star_*
# Many images that fail for one reason are not all told.
preprocess size=16x16
-run
