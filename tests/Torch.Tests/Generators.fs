module Generators

open Expecto
open TorchSharp
open Values

let private draw (seed: uint64) =
    use generator = new torch.Generator(seed)
    numbers (torch.rand (5, generator = generator))

let tests =
    testList "Generators" [
        inScope "the same seed gives the same numbers" (fun () ->
            Expect.equal (draw 7UL) (draw 7UL) "the same"
            Expect.notEqual (draw 7UL) (draw 8UL) "another")

        inScope "a generator of one's own leaves the default alone" (fun () ->
            torch.manual_seed 3L |> ignore
            let expected = numbers (torch.rand 3)
            torch.manual_seed 3L |> ignore
            draw 5UL |> ignore
            Expect.equal (numbers (torch.rand 3)) expected "undisturbed")

        inScope "a state brings the numbers back" (fun () ->
            use generator = new torch.Generator(1UL)
            torch.randn (3, generator = generator) |> ignore
            let state = generator.get_state ()
            let first = numbers (torch.randn (3, generator = generator))
            generator.set_state state
            Expect.equal (numbers (torch.randn (3, generator = generator))) first "again"
            Expect.equal (generator.initial_seed ()) 1L "the seed"
            generator.manual_seed 9L |> ignore
            Expect.equal (generator.initial_seed ()) 9L "another seed")

        inScope "every way to draw takes a generator" (fun () ->
            let ways: (torch.Generator -> torch.Tensor) list = [
                fun g -> torch.rand (3, generator = g)
                fun g -> torch.randn (3, generator = g)
                fun g -> torch.randperm (6L, generator = g)
                fun g -> torch.randint (0L, 9L, [| 6L |], generator = g)
                fun g -> torch.zeros(3).normal_(0.0, 1.0, g)
                fun g -> torch.zeros(3).uniform_(-1.0, 1.0, g)
                fun g -> torch.full([| 9L |], scalar 0.5).bernoulli(g)
                fun g -> torch.zeros(9).bernoulli_(0.5, g)
            ]

            for way in ways do
                let draw () =
                    use generator = new torch.Generator(4UL)
                    numbers (way generator)

                Expect.equal (draw ()) (draw ()) "reproducible")

        inScope "what is drawn has the right spread" (fun () ->
            use generator = new torch.Generator(2UL)
            let normal = torch.randn (20000, dtype = torch.float64, generator = generator)
            Expect.isLessThan (abs (number (normal.mean ()))) 0.05 "mean of normals"
            Expect.isLessThan (abs (number (normal.std ()) - 1.0)) 0.05 "their deviation"
            let uniform = torch.zeros(20000).uniform_(2.0, 4.0, generator)
            Expect.isTrue
                (number (uniform.min ()) >= 2.0 && number (uniform.max ()) < 4.0)
                "range of uniforms"
            let struct (sorted, _) = torch.randperm(5L).sort()
            Expect.equal (numbers sorted) [ 0.0 .. 4.0 ] "a permutation")
    ]
