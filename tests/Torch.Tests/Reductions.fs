module Reductions

open Expecto
open TorchSharp
open Values

let private x () = matrix [ [ 1.0; -2.0; 3.0 ]; [ 4.0; 5.0; -6.0 ] ]

let private cases: (string * (torch.Tensor -> torch.Tensor) * int64 list * float list) list = [
    "sum", _.sum(), [], [ 5.0 ]
    "sum of a dimension", _.sum(1L), [ 2L ], [ 2.0; 3.0 ]
    "sum of dimensions", _.sum([| 0L; 1L |]), [], [ 5.0 ]
    "sum kept", _.sum(0L, true), [ 1L; 3L ], [ 5.0; 3.0; -3.0 ]
    "mean", _.mean(), [], [ 5.0 / 6.0 ]
    "mean of a dimension", _.mean([| 1L |]), [ 2L ], [ 2.0 / 3.0; 1.0 ]
    "prod", _.prod(1L), [ 2L ], [ -6.0; -120.0 ]
    "var", _.var(1L), [ 2L ], [ 19.0 / 3.0; 37.0 ]
    "biased var", _.var(1L, false), [ 2L ], [ 38.0 / 9.0; 74.0 / 3.0 ]
    "std", _.std(1L), [ 2L ], [ sqrt (19.0 / 3.0); sqrt 37.0 ]
    "max", _.max(), [], [ 5.0 ]
    "min", _.min(), [], [ -6.0 ]
    "amax", _.amax([| 1L |]), [ 2L ], [ 3.0; 5.0 ]
    "amin", _.amin([| 0L |]), [ 3L ], [ 1.0; -2.0; -6.0 ]
    "argmax", _.argmax(1L), [ 2L ], [ 2.0; 1.0 ]
    "argmin", _.argmin(1L), [ 2L ], [ 1.0; 2.0 ]
    "median", _.median(), [], [ 1.0 ]
    "cumsum", _.cumsum(1L), [ 2L; 3L ], [ 1.0; -1.0; 2.0; 4.0; 9.0; 3.0 ]
    "cumprod", _.cumprod(1L), [ 2L; 3L ], [ 1.0; -2.0; -6.0; 4.0; 20.0; -120.0 ]
    "norm", _.norm(), [], [ sqrt 91.0 ]
    "norm of a dimension", _.norm(1, p = 1.0f), [ 2L ], [ 6.0; 15.0 ]
    "any", (fun x -> x.gt(scalar 4.0).any()), [], [ 1.0 ]
    "all", (fun x -> x.gt(scalar -3.0).all(1L)), [ 2L ], [ 1.0; 0.0 ]
    "argsort", _.argsort(1L), [ 2L; 3L ], [ 1.0; 0.0; 2.0; 2.0; 0.0; 1.0 ]
    "linalg.norm", (fun x -> torch.linalg.vector_norm (x, 2.0, [| 1L |])), [ 2L ], [ sqrt 14.0; sqrt 77.0 ]
    "trace", (fun x -> x.narrow(1L, 0L, 2L).trace()), [], [ 6.0 ]
]

let tests =
    testList "Reductions" [
        for name, reduce, size, expected in cases do
            inScope name (fun () ->
                let found = reduce (x ())
                Expect.equal (shape found) size "shape"
                near found expected name)

        inScope "max and min of a dimension give values and places" (fun () ->
            let struct (values, places) = (x ()).max(1L)
            near values [ 3.0; 5.0 ] "values"
            near places [ 2.0; 1.0 ] "places")

        inScope "sort and topk" (fun () ->
            let struct (sorted, order) = (x ()).sort(1L, true)
            near sorted [ 3.0; 1.0; -2.0; 5.0; 4.0; -6.0 ] "sorted"
            near order [ 2.0; 0.0; 1.0; 1.0; 0.0; 2.0 ] "order"
            let struct (best, _) = (x ()).topk(2, 1)
            near best [ 3.0; 1.0; 5.0; 4.0 ] "topk"
            let struct (second, _) = (x ()).kthvalue(2L, 1L)
            near second [ 1.0; 4.0 ] "kthvalue")

        inScope "sums may change the type" (fun () ->
            let ones = torch.ones (3, dtype = torch.uint8)
            Expect.equal (ones.sum().dtype) torch.int64 "whole numbers are summed in 64 bits"
            Expect.equal (ones.sum(torch.float64).dtype) torch.float64 "as told")

        inScope "counts" (fun () ->
            let labels = torch.tensor [| 0L; 2L; 2L |]
            near (torch.bincount (labels, minlength = 4L)) [ 1.0; 0.0; 2.0; 0.0 ] "bincount"
            near (torch.histc (vector [ 0.0; 0.5; 1.0 ], 2L, 0L, 1L)) [ 1.0; 2.0 ] "histc")

        inScope "products of matrices" (fun () ->
            let a, b = matrix [ [ 1.0; 2.0 ]; [ 3.0; 4.0 ] ], matrix [ [ 0.0; 1.0 ]; [ 1.0; 0.0 ] ]
            near (a.mm b) [ 2.0; 1.0; 4.0; 3.0 ] "mm"
            near (a.matmul (vector [ 1.0; 1.0 ])) [ 3.0; 7.0 ] "matmul"
            near (torch.einsum ("ij,ij->i", a, b)) [ 2.0; 3.0 ] "einsum"
            near ((vector [ 1.0; 2.0 ]).dot(vector [ 3.0; 4.0 ])) [ 11.0 ] "dot")

        inScope "Cholesky's factor, and where there is none, how far it came" (fun () ->
            let struct (factor, info) = torch.linalg.cholesky_ex (matrix [ [ 4.0; 2.0 ]; [ 2.0; 5.0 ] ])
            near factor [ 2.0; 0.0; 1.0; 2.0 ] "factor"
            near info [ 0.0 ] "all of it"
            let struct (_, info) = torch.linalg.cholesky_ex (matrix [ [ 1.0; 2.0 ]; [ 2.0; 1.0 ] ])
            near info [ 2.0 ] "the second minor is not positive")
    ]
