module Pointwise

open System
open Expecto
open AdvContrast.Testing.Property
open TorchSharp
open Values

let private unary: (string * (torch.Tensor -> torch.Tensor) * (float -> float)) list = [
    "abs", _.abs(), abs
    "neg", _.neg(), (~-)
    "exp", _.exp(), exp
    "expm1", _.expm1(), (fun x -> exp x - 1.0)
    "sin", _.sin(), sin
    "cos", _.cos(), cos
    "tanh", _.tanh(), tanh
    "sigmoid", _.sigmoid(), (fun x -> 1.0 / (1.0 + exp -x))
    "relu", _.relu(), max 0.0
    "square", _.square(), (fun x -> x * x)
    "sign", _.sign(), (sign >> float)
    "floor", _.floor(), floor
    "ceil", _.ceil(), ceil
    "round", _.round(), (fun x -> Math.Round(x, MidpointRounding.ToEven))
    "frac", _.frac(), (fun x -> x - truncate x)
    "reciprocal", _.reciprocal(), (fun x -> 1.0 / x)
    "sqrt of abs", (fun x -> x.abs().sqrt()), (abs >> sqrt)
    "rsqrt of abs", (fun x -> x.abs().rsqrt()), (fun x -> 1.0 / sqrt (abs x))
    "log of abs", (fun x -> x.abs().log()), (abs >> log)
    "log1p of abs", (fun x -> x.abs().log1p()), (fun x -> log (1.0 + abs x))
    "pow", _.pow(scalar 3.0), (fun x -> x * x * x)
    "clamp", _.clamp(scalar -0.5, scalar 0.5), max -0.5 >> min 0.5
    "clamp_min", _.clamp_min(scalar 0.25), max 0.25
    "clamp_max", _.clamp_max(scalar 0.25), min 0.25
    "fmod", _.fmod(scalar 0.75), (fun x -> x % 0.75)
    "remainder", _.remainder(scalar 0.75), (fun x -> x - 0.75 * floor (x / 0.75))
    "add a number", _.add(scalar 1.5), (fun x -> x + 1.5)
    "number less", (fun x -> 1.5 - x), (fun x -> 1.5 - x)
    "number over", (fun x -> 1.5 / x), (fun x -> 1.5 / x)
    "number times", (fun x -> 2 * x), (fun x -> 2.0 * x)
]

let private binary: (string * (torch.Tensor -> torch.Tensor -> torch.Tensor) * (float -> float -> float)) list = [
    "add", (fun a b -> a + b), (+)
    "add with alpha", (fun a b -> a.add (b, scalar 2.0)), (fun a b -> a + 2.0 * b)
    "sub", (fun a b -> a - b), (-)
    "mul", (fun a b -> a * b), (*)
    "div", (fun a b -> a / b), (/)
    "maximum", (fun a b -> torch.maximum (a, b)), max
    "minimum", (fun a b -> torch.minimum (a, b)), min
    "addcmul", (fun a b -> a.addcmul (a, b, scalar 0.5)), (fun a b -> a + 0.5 * a * b)
    "addcdiv", (fun a b -> a.addcdiv (a, b, scalar 0.5)), (fun a b -> a + 0.5 * a / b)
    "lerp", (fun a b -> a.lerp (b, vector [ 0.25 ])), (fun a b -> a + 0.25 * (b - a))
    "eq", (fun a b -> a.eq (b)), (fun a b -> if a = b then 1.0 else 0.0)
    "ne", (fun a b -> a.ne (b)), (fun a b -> if a <> b then 1.0 else 0.0)
    "lt", (fun a b -> a.lt (b)), (fun a b -> if a < b then 1.0 else 0.0)
    "le", (fun a b -> a.le (b)), (fun a b -> if a <= b then 1.0 else 0.0)
    "gt", (fun a b -> a.gt (b)), (fun a b -> if a > b then 1.0 else 0.0)
    "ge", (fun a b -> a.ge (b)), (fun a b -> if a >= b then 1.0 else 0.0)
    "where", (fun a b -> torch.where (a.gt (b), a, b)), max
]

// Away from nought, where quotients and signs are delicate.
let private tame (x: int) = if x = 0 then 0.125 else float x / 16.0

let private inPlace: (string * (torch.Tensor -> torch.Tensor) * float list) list = [
    "add_", _.add_(scalar 1.0), [ 2.0; -1.0; 4.0 ]
    "sub_", _.sub_(scalar 1.0), [ 0.0; -3.0; 2.0 ]
    "mul_", _.mul_(scalar 2.0), [ 2.0; -4.0; 6.0 ]
    "div_", _.div_(scalar 2.0), [ 0.5; -1.0; 1.5 ]
    "clamp_", _.clamp_(scalar -1.0, scalar 1.0), [ 1.0; -1.0; 1.0 ]
    "zero_", _.zero_(), [ 0.0; 0.0; 0.0 ]
    "fill_", _.fill_(scalar 7.0), [ 7.0; 7.0; 7.0 ]
    "neg_", _.neg_(), [ -1.0; 2.0; -3.0 ]
    "abs_", _.abs_(), [ 1.0; 2.0; 3.0 ]
    "masked_fill_", (fun x -> x.masked_fill_ (x.lt (scalar 0.0), scalar 9.0)), [ 1.0; 9.0; 3.0 ]
    "copy_", (fun x -> x.copy_ (vector [ 4.0; 5.0; 6.0 ])), [ 4.0; 5.0; 6.0 ]
    "addcmul_", (fun x -> x.addcmul_ (vector [ 2.0 ], vector [ 3.0 ], scalar 0.5)), [ 4.0; 1.0; 6.0 ]
    "addcdiv_", (fun x -> x.addcdiv_ (vector [ 2.0 ], vector [ 4.0 ], scalar 2.0)), [ 2.0; -1.0; 4.0 ]
    "lerp_", (fun x -> x.lerp_ (vector [ 0.0 ], vector [ 0.5 ])), [ 0.5; -1.0; 1.5 ]
    "pow_", _.pow_(scalar 2.0), [ 1.0; 4.0; 9.0 ]
]

let tests =
    testList "Pointwise" [
        for name, ours, theirs in unary do
            testProperty $"{name} is the scalar function at each element" (fun (given: int list) ->
                use scope = torch.NewDisposeScope()
                let values = given |> List.map tame
                near (ours (vector values)) (values |> List.map theirs) name)

        for name, ours, theirs in binary do
            testProperty $"{name} is the scalar function at each pair" (fun (given: (int * int) list) ->
                use scope = torch.NewDisposeScope()
                let left, right = given |> List.map (fun (a, b) -> tame a, tame b) |> List.unzip
                near (ours (vector left) (vector right)) (List.map2 theirs left right) name)

        for name, change, expected in inPlace do
            inScope $"{name} changes its tensor and gives it back" (fun () ->
                let x = vector [ 1.0; -2.0; 3.0 ]
                let same = change x
                near x expected name
                Expect.isTrue (obj.ReferenceEquals(same, x)) "the very tensor")

        inScope "quotients round as told" (fun () ->
            let x = vector [ 7.0; -7.0 ]
            near (x.div (scalar 2.0, torch.RoundingMode.floor)) [ 3.0; -4.0 ] "floor"
            near (x.div (scalar 2.0, torch.RoundingMode.trunc)) [ 3.0; -3.0 ] "trunc"
            near (x.div (scalar 2.0)) [ 3.5; -3.5 ] "none")

        inScope "values that are no numbers are found and replaced" (fun () ->
            let x = vector [ nan; infinity; -infinity; 1.0 ]
            near (x.isnan ()) [ 1.0; 0.0; 0.0; 0.0 ] "isnan"
            near (x.isinf ()) [ 0.0; 1.0; 1.0; 0.0 ] "isinf"
            near (x.isfinite ()) [ 0.0; 0.0; 0.0; 1.0 ] "isfinite"
            near (x.nan_to_num (0.0, 2.0, -2.0)) [ 0.0; 2.0; -2.0; 1.0 ] "nan_to_num")

        inScope "logic" (fun () ->
            let a, b = torch.tensor [| true; true; false |], torch.tensor [| true; false; false |]
            near (a.logical_and (b)) [ 1.0; 0.0; 0.0 ] "and"
            near (a.logical_or (b)) [ 1.0; 1.0; 0.0 ] "or"
            near (a.logical_xor (b)) [ 0.0; 1.0; 0.0 ] "xor"
            near (a.logical_not ()) [ 0.0; 0.0; 1.0 ] "not")

        inScope "tensors are equal where shape and values are" (fun () ->
            let a = matrix [ [ 1.0; 2.0 ] ]
            Expect.isTrue (a.Equals(matrix [ [ 1.0; 2.0 ] ])) "the same"
            Expect.isFalse (a.Equals(vector [ 1.0; 2.0 ])) "another shape"
            Expect.isFalse (a.Equals(matrix [ [ 1.0; 2.5 ] ])) "another value"
            Expect.isTrue (a.allclose (a + 1e-12)) "close"
            Expect.isFalse (a.allclose (a + 1e-3)) "not close")

        inScope "softmax and its logarithm" (fun () ->
            let x = vector [ 0.0; log 3.0 ]
            near (x.softmax 0L) [ 0.25; 0.75 ] "softmax"
            near (x.log_softmax 0L) [ log 0.25; log 0.75 ] "log_softmax"
            near (x.logsumexp 0L) [ log 4.0 ] "logsumexp"
            near (vector([ 0.5 ]).erfinv().erf()) [ 0.5 ] "erfinv"
            near (vector([ 0.5 ]).tanh().atanh()) [ 0.5 ] "atanh")
    ]
