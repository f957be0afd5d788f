module Types

open System
open Expecto
open TorchSharp
open Values

let private of' (dtype: torch.ScalarType) = torch.ones (2, dtype = Nullable dtype)

/// Sums of tensors of two types, by the rules of PyTorch.
let private promotions = [
    torch.uint8, torch.int8, torch.int16
    torch.int32, torch.int64, torch.int64
    torch.``bool``, torch.uint8, torch.uint8
    torch.int64, torch.float32, torch.float32
    torch.float16, torch.bfloat16, torch.float32
    torch.float32, torch.float64, torch.float64
    torch.int64, torch.float16, torch.float16
]

let tests =
    testList "Types" [
        for left, right, sum in promotions do
            inScope $"{left} and {right} make {sum}" (fun () ->
                Expect.equal ((of' left + of' right).dtype) sum "sum"
                Expect.equal ((of' right + of' left).dtype) sum "the other way")

        inScope "a number does not widen a tensor of its kind" (fun () ->
            Expect.equal ((of' torch.float32 + 1.0).dtype) torch.float32 "a double"
            Expect.equal ((of' torch.float16 * 2.0).dtype) torch.float16 "a double and halves"
            Expect.equal ((of' torch.int32 + 1L).dtype) torch.int32 "a long"
            Expect.equal ((of' torch.int32 + 1.5).dtype) torch.float32 "a fraction"
            Expect.equal ((of' torch.int32 / 2).dtype) torch.float32 "a quotient"
            Expect.equal ((of' torch.float32).gt(scalar 0.5).dtype) torch.``bool`` "a comparison")

        inScope "conversions" (fun () ->
            let x = vector [ 1.7; -1.7 ]
            Expect.equal (x.``float``().dtype) torch.float32 "float"
            Expect.equal (x.half().dtype) torch.float16 "half"
            Expect.equal (x.bfloat16().dtype) torch.bfloat16 "bfloat16"
            near (x.``long`` ()) [ 1.0; -1.0 ] "long"
            near (x.``int`` ()) [ 1.0; -1.0 ] "int"
            near (x.``bool`` ()) [ 1.0; 1.0 ] "bool"
            near (x.to_type (torch.int16)) [ 1.0; -1.0 ] "to_type"
            Expect.equal (x.type_as(torch.ones 1).dtype) torch.float32 "type_as"
            let same = x.``to`` (torch.float64)
            Expect.isFalse (obj.ReferenceEquals(same, x)) "the same type gives a handle of its own"
            let copy = x.``to`` (torch.float64, copy = true)
            copy.fill_ (scalar 0.0) |> ignore
            near x [ 1.7; -1.7 ] "a copy is apart")

        inScope "shapes are broadcast" (fun () ->
            let column, row = matrix [ [ 1.0 ]; [ 2.0 ] ], matrix [ [ 10.0; 20.0; 30.0 ] ]
            let sum = column + row
            Expect.equal (shape sum) [ 2L; 3L ] "shape"
            near sum [ 11.0; 21.0; 31.0; 12.0; 22.0; 32.0 ] "values"
            Expect.equal
                (shape (torch.ones (4, 1, 3) + torch.ones (5, 1)))
                [ 4L; 5L; 3L ]
                "missing dimensions are added")

        inScope "limits of types" (fun () ->
            Expect.equal (torch.finfo(torch.float32).eps) (Math.ScaleB(1.0, -23)) "float32"
            Expect.equal (torch.finfo(torch.float64).max) Double.MaxValue "float64"
            Expect.equal (torch.finfo(torch.float16).max) 65504.0 "float16"
            Expect.equal (torch.finfo(torch.bfloat16).eps) (1.0 / 128.0) "bfloat16")

        inScope "the default type" (fun () ->
            Expect.equal (torch.get_default_dtype ()) torch.float32 "at first"
            torch.set_default_dtype torch.float64

            try
                Expect.equal (torch.zeros(1).dtype) torch.float64 "then"
            finally
                torch.set_default_dtype torch.float32)
    ]
