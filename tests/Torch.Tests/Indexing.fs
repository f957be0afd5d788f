module Indexing

open System
open Expecto
open TorchSharp
open Values

type private At = torch.TensorIndex

// x[i, j, k] = 12 i + 4 j + k
let private x () = torch.arange(0.0, 24.0, dtype = torch.float64).view(2L, 3L, 4L)

let private places (values: int64 list) = At.Tensor(torch.tensor (Array.ofList values))

let private cases: (string * (unit -> At list) * int64 list * float list) list = [
    "a number", (fun () -> [ At.Single 1L; At.Single 2L ]), [ 4L ], [ 20.0 .. 23.0 ]
    "a number from the end", (fun () -> [ At.Single -1L; At.Single -1L; At.Single -1L ]), [], [ 23.0 ]
    "a slice", (fun () -> [ At.Single 0L; At.Slice(1L, 3L); At.Single 0L ]), [ 2L ], [ 4.0; 8.0 ]
    "a slice from the end",
    (fun () -> [ At.Single 0L; At.Single 0L; At.Slice(Nullable -2L) ]),
    [ 2L ],
    [ 2.0; 3.0 ]
    "a slice by steps", (fun () -> [ At.Single 0L; At.Single 0L; At.Slice(0L, 4L, 2L) ]), [ 2L ], [ 0.0; 2.0 ]
    "the whole", (fun () -> [ At.Colon; At.Single 0L; At.Single 0L ]), [ 2L ], [ 0.0; 12.0 ]
    "the rest", (fun () -> [ At.Ellipsis; At.Single 0L ]), [ 2L; 3L ], [ 0.0; 4.0; 8.0; 12.0; 16.0; 20.0 ]
    "a new dimension", (fun () -> [ At.Single 0L; At.Single 0L; At.None ]), [ 1L; 4L ], [ 0.0 .. 3.0 ]
    "a null", (fun () -> [ At.Null; At.Single 0L; At.Single 0L ]), [ 1L; 4L ], [ 0.0 .. 3.0 ]
    "a tensor", (fun () -> [ At.Single 0L; places [ 2L; 0L ]; At.Single 1L ]), [ 2L ], [ 9.0; 1.0 ]
    "a tensor after a slice",
    (fun () -> [ At.Single 0L; At.Slice(0L, 2L); places [ 3L; 3L ] ]),
    [ 2L; 2L ],
    [ 3.0; 3.0; 7.0; 7.0 ]
    "a tensor at the end",
    (fun () -> [ At.Ellipsis; places [ 1L ] ]),
    [ 2L; 3L; 1L ],
    [ 1.0; 5.0; 9.0; 13.0; 17.0; 21.0 ]
    "two tensors", (fun () -> [ places [ 0L; 1L ]; places [ 1L; 2L ]; At.Single 0L ]), [ 2L ], [ 4.0; 20.0 ]
    "a mask",
    (fun () -> [ At.Single 1L; At.Single 0L; At.Tensor(torch.tensor [| true; false; false; true |]) ]),
    [ 2L ],
    [ 12.0; 15.0 ]
    "a mask over two dimensions",
    (fun () -> [ At.Tensor((x ()).select(2L, 0L).ge(scalar 16.0)); At.Single 1L ]),
    [ 2L ],
    [ 17.0; 21.0 ]
]

let tests =
    testList "Indexing" [
        for name, at, size, expected in cases do
            inScope name (fun () ->
                let found = (x ()).index(Array.ofList (at ()))
                Expect.equal (shape found) size "shape"
                near found expected name)

        inScope "indexers read" (fun () ->
            let x = x ()
            near x[1L, 2L, 3L] [ 23.0 ] "numbers"
            near x[At.Single 0L, At.Colon, At.Single 0L] [ 0.0; 4.0; 8.0 ] "forms"
            near (x.view(24L)[torch.tensor [| 3L; 5L |]]) [ 3.0; 5.0 ] "a tensor")

        inScope "indexers write" (fun () ->
            let x = torch.zeros (2, 3, dtype = torch.float64)
            x[0L, 1L] <- vector([ 5.0 ]).squeeze()
            x[At.Colon, At.Single 2L] <- vector [ 7.0; 8.0 ]
            near x [ 0.0; 5.0; 7.0; 0.0; 0.0; 8.0 ] "written")

        inScope "index_put_" (fun () ->
            let x = torch.zeros (3, dtype = torch.float64)
            let twice = [| torch.tensor [| 0L; 0L; 2L |] |]
            x.index_put_ (vector [ 1.0; 2.0; 3.0 ], twice, true) |> ignore
            near x [ 3.0; 0.0; 3.0 ] "accumulated"
            x.index_put_ (scalar 4.0, At.Slice(1L, 3L)) |> ignore
            near x [ 3.0; 4.0; 4.0 ] "a number in a slice"
            x.index_put_ (vector [ 0.5 ], At.Tensor(x.eq (scalar 3.0))) |> ignore
            near x [ 0.5; 4.0; 4.0 ] "at a mask")

        inScope "gather, scatter and index_select" (fun () ->
            let x = matrix [ [ 1.0; 2.0; 3.0 ]; [ 4.0; 5.0; 6.0 ] ]
            let at = torch.tensor([| 2L; 0L |]).unsqueeze(1L)
            near (x.gather (1L, at)) [ 3.0; 4.0 ] "gather"
            near (x.scatter (1L, at, matrix [ [ 0.0 ]; [ 0.0 ] ])) [ 1.0; 2.0; 0.0; 0.0; 5.0; 6.0 ] "scatter"
            near (x.index_select (1L, torch.tensor [| 1L; 1L |])) [ 2.0; 2.0; 5.0; 5.0 ] "index_select"
            near (x.take_along_dim (at, 1L)) [ 3.0; 4.0 ] "take_along_dim"
            near
                (x.masked_fill (x.gt (scalar 4.0), scalar 0.0))
                [ 1.0; 2.0; 3.0; 4.0; 0.0; 0.0 ]
                "masked_fill"
            near (x.masked_select (x.gt (scalar 4.0))) [ 5.0; 6.0 ] "masked_select"
            near (x.gt(scalar 4.0).nonzero()) [ 1.0; 1.0; 1.0; 2.0 ] "nonzero")

        inScope "too many indices are refused" (fun () ->
            let one = At.Single 0L
            Expect.throws (fun () -> (x ()).index(one, one, one, one) |> ignore) "four of three dimensions"
            Expect.throws (fun () -> (x ()).index(At.Single 2L) |> ignore) "beyond the end")
    ]
