module Errors

open System
open System.Runtime.InteropServices
open Expecto
open AdvContrast.Torch.Engine
open TorchSharp
open Values

let private faults: (string * (unit -> torch.Tensor) * string list) list = [
    "mm",
    (fun () -> torch.ones(2, 3).mm(torch.ones (2, 3))),
    [ "aten::mm"; "float32[2, 3], float32[2, 3]"; "2x3" ]
    "add", (fun () -> torch.ones (2, 3) + torch.ones (4)), [ "aten::add"; "float32[2, 3], float32[4]" ]
    "cat",
    (fun () -> torch.cat ([| torch.ones (2, 3); torch.ones 2 |])),
    [ "aten::cat"; "[float32[2, 3], float32[2]]" ]
    "view", (fun () -> torch.ones(2, 3).view(4L)), [ "aten::view"; "float32[2, 3]" ]
    "matmul of types",
    (fun () -> torch.ones(2, 2).matmul(torch.ones (2, 2, dtype = torch.int64))),
    [ "aten::matmul"; "float32[2, 2], int64[2, 2]" ]
    "select", (fun () -> torch.ones(2).select(3L, 0L)), [ "aten::select"; "float32[2]" ]
    "backward",
    (fun () ->
        torch.ones(2).backward()
        null),
    [ "does not require grad" ]
]

let tests =
    testList "Errors" [
        for name, fault, words in faults do
            inScope $"{name}: the message names the operator and what it was given" (fun () ->
                Expect.throwsC (fault >> ignore) (fun e ->
                    Expect.isTrue (e :? ExternalException) $"an ExternalException, not {e.GetType().Name}"

                    if TorchEngine.Current.Source = "system" then
                        for word in words do
                            Expect.stringContains e.Message word "the message"

                        Expect.isFalse (e.Message.Contains '\n') "one line"
                        Expect.isFalse (e.Message.Contains ".cpp") "no C++ frames"))

        inScope "a disposed tensor is refused" (fun () ->
            let x = torch.ones 2
            x.Dispose()
            Expect.throws (fun () -> x.shape |> ignore) "its shape"
            Expect.throws (fun () -> x.add (scalar 1.0) |> ignore) "as self"
            Expect.throws (fun () -> torch.ones(2).add(x) |> ignore) "as an argument"
            Expect.throws (fun () -> torch.cat ([| x |]) |> ignore) "in a list"
            Expect.throws (fun () -> torch.autograd.grad ([| x |], [| x |]) |> ignore) "to autograd")

        inScope "a fault leaves everything usable" (fun () ->
            let before = settled ()

            for _ in 1..100 do
                use scope = torch.NewDisposeScope()
                Expect.throws (fun () -> torch.ones(2, 3).mm(torch.ones (2, 3)) |> ignore) "every time"

            Expect.equal torch.Tensor.TotalCount before "nothing is left over"
            Expect.equal (number (torch.ones(2).sum())) 2.0 "and sums are right")

        inScope "devices that are not there" (fun () ->
            Expect.throwsT<ArgumentException> (fun () -> torch.device "toaster" |> ignore) "no such kind"
            Expect.equal (torch.device("cuda:1").index) 1 "a second CUDA device"
            Expect.equal (string (torch.device "cpu")) "cpu" "the CPU"

            if not (torch.cuda.is_available ()) then
                Expect.isFalse (torch.TryInitializeDeviceType DeviceType.CUDA) "no CUDA"
                Expect.throws (fun () -> torch.InitializeDeviceType DeviceType.CUDA) "said"
                Expect.throws (fun () -> torch.ones(1).cuda() |> ignore) "nor can a tensor go there")
    ]
