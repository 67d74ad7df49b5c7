package task

import "strings"

// words are what sorting and counting letters draw from.
var words = strings.Fields(`
acorn address album anchor animal answer apple apron arrow autumn badger bakery balloon
bamboo banana barrel basket battery beacon beetle berry bicycle biscuit blanket blossom
bottle bottom branch breeze bridge bubble bucket butter button cabbage cabin candle canyon
carpet carrot castle cattle cellar cereal channel cheese cherry chimney circle clover
coffee committee compass copper corner cotton cricket crystal cucumber curtain daisy
dancer desert dinner doctor dollar dragon drummer eagle easel echo elbow elephant ember
engine evening express fabric falcon feather fellow ferry fiddle finger flower forest
fossil fountain garden garlic ginger giraffe glacier goggles grammar grass gravel guitar
hammer harbor harvest hazel helmet hollow honey horizon hotel igloo insect island ivory
jacket jelly jewel jungle kangaroo kettle kitchen kitten ladder lagoon lantern lemon
lesson letter library lizard lobster lottery maple marble market meadow melon message
middle millennium mirror missile mitten monkey mountain mushroom mustard needle noodle
notebook occurrence oatmeal ocean office olive onion orange orchard oven owl oyster paddle
pancake paper parrot pebble pencil penguin pepper piano pillow planet pocket poppy
possess potato pottery puddle pumpkin puppet puzzle quarter quilt rabbit raccoon radish
rain raven ribbon river robin rocket rubber saddle sailor salad sandal school scissors
season shadow shell silver sister skeleton slipper soccer spinner spoon squirrel stairs
station strawberry street success summer sunset supper sweater tailor tennessee tennis
thunder ticket tiger toffee tomato tractor treasure tree tulip tunnel turnip turtle
umbrella uncle valley vanilla velvet village violin volcano waffle wagon wallet walnut
water weather whisper willow window winter wizard woodpecker wool yellow yogurt zebra zipper
`)
