module RoundTrips

open System
open System.Numerics
open Expecto
open AdvContrast.Testing.Property
open TorchSharp
open Values

let private trip<'t
    when 't: unmanaged and 't: (new: unit -> 't) and 't: struct and 't :> ValueType and 't: equality>
    name
    dtype
    (values: 't[])
    =
    inScope $"{name}: array to tensor to array" (fun () ->
        let x = torch.from_array (values :> Array)
        Expect.equal x.dtype dtype "type"
        Expect.equal (x.data<'t>().ToArray()) values "values"
        Expect.equal (x[0L].item<'t>()) values[0] "item"
        let copy = torch.empty ([| values.LongLength |], dtype = Nullable dtype)
        copy.data<'t>().CopyFrom(values)
        Expect.isTrue (copy.Equals x) "written through data"
        Expect.equal (x.bytes.Length) (int x.NumberOfElements * int x.ElementSize) "bytes")

let tests =
    testList "Round trips" [
        trip "uint8" torch.uint8 [| 0uy; 7uy; 255uy |]
        trip "int8" torch.int8 [| 0y; -128y; 127y |]
        trip "int16" torch.int16 [| 0s; Int16.MinValue; Int16.MaxValue |]
        trip "int32" torch.int32 [| 1; Int32.MinValue; Int32.MaxValue |]
        trip "int64" torch.int64 [| 1L; Int64.MinValue; Int64.MaxValue |]
        trip "float16" torch.float16 [| Half.One; Half.MaxValue; Half.Epsilon |]
        trip "float32" torch.float32 [| 1.0f; Single.MaxValue; Single.Epsilon |]
        trip "float64" torch.float64 [| 1.0; Double.MaxValue; Double.Epsilon |]
        trip "bool" torch.``bool`` [| true; false; true |]
        trip "complex128" torch.complex128 [| Complex(1.0, -2.0); Complex.ImaginaryOne |]

        testProperty "any array of numbers comes back as it went" (fun (values: float[]) ->
            use scope = torch.NewDisposeScope()
            let x = torch.tensor values
            let back = x.data<float>().ToArray()
            back.AsSpan().SequenceEqual(values.AsSpan()))

        inScope "arrays of several ranks" (fun () ->
            let x = torch.from_array (array2D [ [ 1.0; 2.0 ]; [ 3.0; 4.0 ] ])
            Expect.equal (shape x) [ 2L; 2L ] "shape"
            Expect.equal ((x.data<float>().ToNDArray() :?> float[,])[1, 0]) 3.0 "and back")

        inScope "what is not contiguous is read in the order of its indices" (fun () ->
            let x = matrix [ [ 1.0; 2.0 ]; [ 3.0; 4.0 ] ]
            let turned = x.t().data<float>()
            Expect.equal (turned.ToArray()) [| 1.0; 3.0; 2.0; 4.0 |] "ToArray"
            Expect.equal (List.ofSeq turned) [ 1.0; 3.0; 2.0; 4.0 ] "as a sequence"
            Expect.equal (turned[0L, 1L]) 3.0 "by indices"
            turned[0L, 1L] <- 9.0
            near x [ 1.0; 2.0; 9.0; 4.0 ] "written in place")

        inScope "values go with their tensor" (fun () ->
            let x = vector [ 1.0; 2.0 ]
            let values = x.data<float>()
            x.Dispose()
            Expect.throws (fun () -> values.ToArray() |> ignore) "disposed")

        inScope "scalars of each kind" (fun () ->
            Expect.equal (torch.tensor(1.5).dtype) torch.float64 "double"
            Expect.equal (torch.tensor(1.5f).dtype) torch.float32 "single"
            Expect.equal (torch.tensor(1L).dtype) torch.int64 "long"
            Expect.equal (torch.tensor(1).dtype) torch.int32 "int"
            Expect.equal (torch.tensor(true).dtype) torch.``bool`` "bool"
            Expect.equal (torch.tensor(1.5).ToDouble(), torch.tensor(7L).ToInt64()) (1.5, 7L) "and back"
            Expect.equal (torch.tensor(1.5f).bfloat16().ToSingle()) 1.5f "bfloat16")

        inScope "tensors of a given type and shape" (fun () ->
            let x = torch.tensor ([| 1L; 2L; 3L; 4L |], 2L, 2L, dtype = torch.float32)
            Expect.equal (x.dtype, shape x) (torch.float32, [ 2L; 2L ]) "as told"
            Expect.isTrue (torch.tensor([| 1.0 |], requires_grad = true).requires_grad) "with a gradient"
            Expect.throws (fun () -> torch.tensor ([| 1.0 |], 2L, 2L) |> ignore) "too few values")

        inScope "a buffer is read as another type" (fun () ->
            let x = torch.frombuffer ([| 1.0f; 2.0f |], torch.float32, 1L, 1L)
            near x [ 2.0 ] "an element")

        inScope "what does not fit is refused" (fun () ->
            Expect.throws (fun () -> vector([ 1.0 ]).data<float32>() |> ignore) "another type"
            Expect.throws (fun () -> vector([ 1.0; 2.0 ]).item<float>() |> ignore) "item of two"
            Expect.throws
                (fun () -> matrix([ [ 1.0; 2.0 ]; [ 3.0; 4.0 ] ]).t().bytes.Length |> ignore)
                "strided bytes")
    ]
