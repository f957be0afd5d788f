module Scopes

open System
open Expecto
open TorchSharp
open Values

let private make () = torch.zeros 1

/// A test that runs with no scope open on its thread.
let private bare name (test: unit -> unit) = testCase name test

let tests =
    testList "Scopes" [
        bare "a scope disposes what was made in it" (fun () ->
            let x =
                use scope = torch.NewDisposeScope()
                let x = make ()
                Expect.isTrue (scope.Contains x) "held"
                Expect.equal scope.DisposablesCount 1 "one"
                Expect.isTrue (obj.ReferenceEquals(torch.CurrentDisposeScope, scope)) "the current one"
                x

            Expect.isTrue x.IsInvalid "disposed"
            Expect.isNull torch.CurrentDisposeScope "none is open")

        bare "without a scope a tensor is its owner's" (fun () ->
            use x = make ()
            (use _ = torch.NewDisposeScope() in ())
            Expect.isFalse x.IsInvalid "untouched")

        bare "the innermost scope holds" (fun () ->
            use outer = torch.NewDisposeScope()
            let a = make ()
            let b = (use _ = torch.NewDisposeScope() in make ())
            Expect.isTrue b.IsInvalid "the inner one is gone"
            Expect.isFalse a.IsInvalid "the outer one stays"
            Expect.equal outer.DisposablesCount 1 "which alone is held")

        bare "MoveToOuterDisposeScope" (fun () ->
            use outer = torch.NewDisposeScope()
            let x = (use _ = torch.NewDisposeScope() in make().MoveToOuterDisposeScope())
            Expect.isTrue (outer.Contains x && not x.IsInvalid) "moved"
            let y, z =
                use inner = torch.NewDisposeScope()
                let struct (y, z) = inner.MoveToOuter(make (), make ())
                y, z
            Expect.isTrue (outer.Contains y && outer.Contains z) "both")

        bare "out of the outermost scope a tensor is on its own" (fun () ->
            use x = (use _ = torch.NewDisposeScope() in make().MoveToOuterDisposeScope())
            Expect.isFalse x.IsInvalid "alive")

        bare "DetachFromDisposeScope" (fun () ->
            use x = (use _ = torch.NewDisposeScope() in make().DetachFromDisposeScope())
            Expect.isFalse x.IsInvalid "alive")

        bare "Detach and Attach" (fun () ->
            use scope = torch.NewDisposeScope()
            let x = scope.Detach(make ())
            Expect.equal scope.DisposablesCount 0 "let go"
            scope.Attach x
            Expect.isTrue (scope.Contains x) "taken back"
            let y = make ()
            scope.Attach y
            Expect.equal scope.DisposablesCount 2 "attaching twice holds once")

        bare "MoveToOtherDisposeScope" (fun () ->
            use first = torch.NewDisposeScope()
            let anchor = make ()
            use second = torch.NewDisposeScope()
            let x = make().MoveToOtherDisposeScope(first)
            Expect.isTrue (first.Contains x && not (second.Contains x)) "to a scope"
            let y = make().MoveToOtherDisposeScope(anchor)
            Expect.isTrue (first.Contains y) "to the scope of a tensor"
            let z = second.MoveToOther(first, make ())
            Expect.isTrue (first.Contains z) "by the scope")

        bare "DisposeEverything and DisposeEverythingBut" (fun () ->
            use scope = torch.NewDisposeScope()
            let a, b, c = make (), make (), make ()
            let kept = scope.DisposeEverythingBut b
            Expect.isTrue (a.IsInvalid && c.IsInvalid) "the others are gone"
            Expect.isTrue (obj.ReferenceEquals(kept, b) && scope.Contains b) "the kept one stays held"
            scope.DisposeEverything()
            Expect.isTrue b.IsInvalid "now it is gone"
            Expect.isFalse ((make ()).IsInvalid) "the scope is still open"
            Expect.equal scope.DisposablesCount 1 "and holds what is new")

        bare "a tensor disposed by hand leaves its scope" (fun () ->
            use scope = torch.NewDisposeScope()
            let x = make ()
            x.Dispose()
            Expect.equal scope.DisposablesCount 0 "left"
            x.Dispose()
            Expect.isTrue x.IsInvalid "disposing twice does no harm")

        bare "WrappedTensorDisposeScope lets only its result out" (fun () ->
            let before = settled ()
            use x = torch.WrappedTensorDisposeScope(fun () -> (make () + 1.0) * 2.0)
            Expect.equal (x.item<float32>()) 2.0f "the result"
            Expect.equal (torch.Tensor.TotalCount - before) 1L "alone")

        bare "scopes may be closed out of order" (fun () ->
            let outer = torch.NewDisposeScope()
            let inner = torch.NewDisposeScope()
            outer.Dispose()
            let x = make ()
            Expect.isTrue (inner.Contains x) "the inner one still works"
            let y = x.MoveToOuterDisposeScope()
            Expect.isFalse y.IsInvalid "its outer one is gone, so it is on its own"
            y.Dispose()
            inner.Dispose())

        bare "a scope closes when an exception passes" (fun () ->
            let mutable x = Unchecked.defaultof<torch.Tensor>

            try
                use _ = torch.NewDisposeScope()
                x <- make ()
                invalidOp "on purpose"
            with :? InvalidOperationException ->
                ()

            Expect.isTrue x.IsInvalid "disposed"
            Expect.isNull torch.CurrentDisposeScope "closed")

        bare "statistics of the thread" (fun () ->
            let statistics = DisposeScopeManager.Statistics
            statistics.Reset()
            use outside = make ()

            do
                use scope = torch.NewDisposeScope()
                let a, b = make (), make ()
                a.Dispose()
                scope.Detach b |> ignore
                scope.Attach b

            Expect.equal statistics.CreatedOutsideScopeCount 1L "created outside"
            Expect.equal statistics.CreatedInScopeCount 2L "created in a scope"
            Expect.equal statistics.DisposedInScopeCount 2L "disposed in a scope"
            Expect.equal statistics.DetachedFromScopeCount 1L "detached"
            Expect.equal statistics.AttachedToScopeCount 1L "attached"
            Expect.equal statistics.ThreadTotalLiveCount 1L "alive"
            Expect.equal statistics.TensorStatistics.CreatedInScopeCount 2L "tensors")
    ]
