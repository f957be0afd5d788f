module Autograd

open System
open Expecto
open TorchSharp
open Values

type private F = torch.nn.functional

let private weights () = matrix [ [ 0.5; -1.0; 2.0 ]; [ 1.5; 0.25; -0.75 ] ]

/// Functions of x [2; 3] that are smooth where they are tried.
let private functions: (string * (torch.Tensor -> torch.Tensor)) list = [
    "sum of products", (fun x -> (x * x * x).sum())
    "exp and log", (fun x -> (x.exp().sum(1L)).log().sum())
    "quotient", (fun x -> (1.0 / (x + 4.0)).sum())
    "matmul", (fun x -> x.matmul(x.t ()).pow(scalar 2.0).sum())
    "softmax", (fun x -> (x.softmax (1L) * x).sum())
    "logsumexp", (fun x -> x.logsumexp(1L).sum())
    "norm", (fun x -> x.norm ())
    "normalize", (fun x -> (F.normalize (x) * weights ()).sum())
    "cosine_similarity", (fun x -> F.cosine_similarity(x, weights ()).sum())
    "views", (fun x -> (x.t().reshape(6L).narrow(0L, 1L, 4L) * torch.arange (4.0)).sum())
    "index_select", (fun x -> x.index_select(1L, torch.tensor [| 2L; 2L; 0L |]).square().sum())
    "gather", (fun x -> x.gather(1L, torch.tensor([| 1L; 0L |]).unsqueeze(1L)).exp().sum())
    "index",
    (fun x ->
        x.index(torch.TensorIndex.Colon, torch.TensorIndex.Tensor(torch.tensor [| 1L; 1L |])).exp().sum())
    "var", (fun x -> x.var(1L).sum())
    "clamp", (fun x -> (x.clamp (scalar -0.4, scalar 0.4) * x).sum())
    "where", (fun x -> torch.where(x.gt (scalar 0.0), x.square (), x).sum())
    "cat and stack",
    (fun x -> (torch.cat([| x; x.sin () |], 0L).sum() + torch.stack([| x; x |]).square().sum()))
    "cross_entropy", (fun x -> F.cross_entropy (x, torch.tensor [| 0L; 2L |]))
    "batch_norm",
    (fun x ->
        let none: torch.Tensor = null
        (F.batch_norm (x, none, none, training = true) * weights ()).sum())
    "tanh, sigmoid, erf", (fun x -> (x.tanh () + x.sigmoid () + x.erf ()).sum())
]

let private at () = matrix [ [ 0.3; -0.7; 1.1 ]; [ -1.3; 0.9; 0.2 ] ]

/// The gradient by central differences.
let private differences (f: torch.Tensor -> torch.Tensor) =
    let step = 1e-5
    let values = numbers (at ()) |> Array.ofList

    [
        for i in 0 .. values.Length - 1 do
            let moved by =
                let changed = Array.copy values
                changed[i] <- changed[i] + by
                number (f (torch.tensor (changed, 2L, 3L)))

            (moved step - moved -step) / (2.0 * step)
    ]

let private gradient (y: torch.Tensor) (x: torch.Tensor) = torch.autograd.grad([| y |], [| x |])[0]

let tests =
    testList "Autograd" [
        for name, f in functions do
            inScope $"{name}: the gradient is that of finite differences" (fun () ->
                let x = (at ()).requires_grad_()
                let found = numbers (gradient (f x) x)

                for ours, theirs in List.zip found (differences f) do
                    Expect.isTrue (abs (ours - theirs) < 1e-7 * (1.0 + abs theirs)) $"{ours} for {theirs}")

        inScope "backward gathers in grad" (fun () ->
            let x = (vector [ 1.0; 2.0 ]).requires_grad_()
            Expect.isNull x.grad "at first"
            (x * x).sum().backward()
            near x.grad [ 2.0; 4.0 ] "once"
            (x * x).sum().backward()
            near x.grad [ 4.0; 8.0 ] "twice"
            x.grad <- null
            Expect.isNull x.grad "cleared")

        inScope "grad leaves the leaves' grad alone" (fun () ->
            let x, w = (vector [ 1.0 ]).requires_grad_(), (vector [ 3.0 ]).requires_grad_()
            near (gradient ((x * w).sum()) x) [ 3.0 ] "the gradient"
            Expect.isNull w.grad "of the other"
            Expect.isNull x.grad "of its own")

        inScope "gradients of gradients" (fun () ->
            let x = (vector [ 2.0 ]).requires_grad_()
            let first = torch.autograd.grad([| x.pow(scalar 3.0).sum() |], [| x |], create_graph = true)[0]
            near first [ 12.0 ] "first"
            near (gradient (first.sum ()) x) [ 12.0 ] "second")

        inScope "an unused input has an invalid gradient" (fun () ->
            let x, w = (vector [ 1.0 ]).requires_grad_(), (vector [ 3.0 ]).requires_grad_()
            let found = torch.autograd.grad ([| (x * 2.0).sum() |], [| x; w |], allow_unused = true)
            near found[0] [ 2.0 ] "used"
            Expect.isTrue found[1].IsInvalid "unused"
            Expect.throws
                (fun () -> torch.autograd.grad ([| (x * 2.0).sum() |], [| w |]) |> ignore)
                "unless allowed")

        inScope "weights for the outputs" (fun () ->
            let x = (vector [ 1.0; 2.0 ]).requires_grad_()
            let found = torch.autograd.grad ([| x * x |], [| x |], [| vector [ 1.0; 10.0 ] |])
            near found[0] [ 2.0; 40.0 ] "weighted")

        inScope "a graph lasts once, unless kept" (fun () ->
            let x = (vector [ 1.0 ]).requires_grad_()
            let y = x.exp().sum()
            torch.autograd.grad ([| y |], [| x |], retain_graph = true) |> ignore
            torch.autograd.grad ([| y |], [| x |]) |> ignore
            Expect.throws (fun () -> torch.autograd.grad ([| y |], [| x |]) |> ignore) "used up")

        inScope "intermediates may be disposed before backward" (fun () ->
            let x = (vector [ 1.0 ]).requires_grad_()
            use y = torch.WrappedTensorDisposeScope(fun () -> (x * 2.0).exp().sum())
            near (gradient y x) [ 2.0 * exp 2.0 ] "the graph holds what it needs")

        inScope "no_grad and enable_grad nest" (fun () ->
            let x = (vector [ 1.0 ]).requires_grad_()

            do
                use _ = torch.no_grad ()
                Expect.isFalse ((x * 2.0).requires_grad) "off"
                use _ = torch.enable_grad ()
                Expect.isTrue ((x * 2.0).requires_grad) "on again"

            Expect.isTrue (torch.is_grad_enabled ()) "as before"

            do
                use _ = torch.set_grad_enabled false
                Expect.isFalse (torch.is_grad_enabled ()) "set"

            do
                use _ = torch.inference_mode ()
                Expect.isFalse ((x * 2.0).requires_grad) "in inference"

            Expect.isTrue ((x * 2.0).requires_grad) "after it")

        inScope "detach" (fun () ->
            let x = (vector [ 1.0; -2.0 ]).requires_grad_()
            Expect.isFalse (x.detach().requires_grad) "has no history"
            let straight = x + (x.sign () - x).detach()
            near straight [ 1.0; -1.0 ] "the sign"
            near (gradient (straight.sum ()) x) [ 1.0; 1.0 ] "with the gradient of the identity"
            Expect.isTrue (x.is_leaf && not ((x * 1.0).is_leaf)) "leaves")
    ]
