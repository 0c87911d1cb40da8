# Rows of wide tables are not broken: names stay, Right and Left move what stands behind them.
source samples/scripts/open.qs
help run
sensitivity /block4/dw/Conv /head/Gemm --images 4 --exact
worst 3
layers --top 4
view log
key Right Right Right l
scroll left
screen --size 80x44
