module Shapes

open Expecto
open TorchSharp
open Values

let private x () = torch.arange(0.0, 6.0, dtype = torch.float64).view(2L, 3L)

let private cases: (string * (torch.Tensor -> torch.Tensor) * int64 list * float list) list = [
    "t", _.t(), [ 3L; 2L ], [ 0.0; 3.0; 1.0; 4.0; 2.0; 5.0 ]
    "T", _.T, [ 3L; 2L ], [ 0.0; 3.0; 1.0; 4.0; 2.0; 5.0 ]
    "transpose", _.transpose(0L, 1L), [ 3L; 2L ], [ 0.0; 3.0; 1.0; 4.0; 2.0; 5.0 ]
    "permute", _.permute(1L, 0L), [ 3L; 2L ], [ 0.0; 3.0; 1.0; 4.0; 2.0; 5.0 ]
    "reshape", _.reshape(3L, -1L), [ 3L; 2L ], [ 0.0 .. 5.0 ]
    "flatten", _.flatten(), [ 6L ], [ 0.0 .. 5.0 ]
    "unsqueeze", _.unsqueeze(1L), [ 2L; 1L; 3L ], [ 0.0 .. 5.0 ]
    "squeeze", (fun x -> x.view(2L, 1L, 3L).squeeze()), [ 2L; 3L ], [ 0.0 .. 5.0 ]
    "squeeze of a dimension", (fun x -> x.view(1L, 2L, 3L).squeeze(0L)), [ 2L; 3L ], [ 0.0 .. 5.0 ]
    "expand", (fun x -> x.narrow(0L, 0L, 1L).expand(2L, 3L)), [ 2L; 3L ], [ 0.0; 1.0; 2.0; 0.0; 1.0; 2.0 ]
    "repeat", _.repeat(1L, 2L), [ 2L; 6L ], [ 0.0; 1.0; 2.0; 0.0; 1.0; 2.0; 3.0; 4.0; 5.0; 3.0; 4.0; 5.0 ]
    "repeat_interleave",
    _.repeat_interleave(2L, 1L),
    [ 2L; 6L ],
    [ 0.0; 0.0; 1.0; 1.0; 2.0; 2.0; 3.0; 3.0; 4.0; 4.0; 5.0; 5.0 ]
    "select", _.select(1L, 1L), [ 2L ], [ 1.0; 4.0 ]
    "narrow", _.narrow(1L, 1L, 2L), [ 2L; 2L ], [ 1.0; 2.0; 4.0; 5.0 ]
    "diagonal", _.diagonal(), [ 2L ], [ 0.0; 4.0 ]
    "triu", _.triu(), [ 2L; 3L ], [ 0.0; 1.0; 2.0; 0.0; 4.0; 5.0 ]
    "tril", _.tril(), [ 2L; 3L ], [ 0.0; 0.0; 0.0; 3.0; 4.0; 0.0 ]
    "flip", _.flip(1L), [ 2L; 3L ], [ 2.0; 1.0; 0.0; 5.0; 4.0; 3.0 ]
    "roll", _.roll(1L, 1L), [ 2L; 3L ], [ 2.0; 0.0; 1.0; 5.0; 3.0; 4.0 ]
    "cat",
    (fun x -> torch.cat ([| x; x |], 1L)),
    [ 2L; 6L ],
    [ 0.0; 1.0; 2.0; 0.0; 1.0; 2.0; 3.0; 4.0; 5.0; 3.0; 4.0; 5.0 ]
    "stack", (fun x -> torch.stack([| x; x |], 0L).sum(0L)), [ 2L; 3L ], [ 0.0; 2.0; 4.0; 6.0; 8.0; 10.0 ]
    "unfold", _.unfold(1L, 2L, 1L), [ 2L; 2L; 2L ], [ 0.0; 1.0; 1.0; 2.0; 3.0; 4.0; 4.0; 5.0 ]
]

let tests =
    testList "Shapes" [
        for name, change, size, expected in cases do
            inScope name (fun () ->
                let found = change (x ())
                Expect.equal (shape found) size "shape"
                near found expected name)

        inScope "chunk, split and unbind" (fun () ->
            let parts = (x ()).chunk(2L, 1L) |> Array.map shape |> List.ofArray
            Expect.equal parts [ [ 2L; 2L ]; [ 2L; 1L ] ] "chunk"
            let sizes = (x ()).split([| 1L; 2L |], 1L) |> Array.map shape |> List.ofArray
            Expect.equal sizes [ [ 2L; 1L ]; [ 2L; 2L ] ] "split"
            Expect.equal
                ((x ()).unbind(0L) |> Array.map numbers |> List.ofArray)
                [ [ 0.0 .. 2.0 ]; [ 3.0 .. 5.0 ] ]
                "unbind")

        inScope "views share memory, clones do not" (fun () ->
            let x = x ()
            x.view(6L).select(0L, 0L).fill_(scalar 9.0) |> ignore
            Expect.equal (List.head (numbers x)) 9.0 "a view"
            x.clone().fill_(scalar 0.0) |> ignore
            Expect.equal (List.head (numbers x)) 9.0 "a clone"
            let same = x.alias ()
            Expect.isFalse (obj.ReferenceEquals(same, x)) "an alias is a handle of its own"
            same.Dispose()
            Expect.equal (List.head (numbers x)) 9.0 "which may be disposed")

        inScope "what a tensor says of itself" (fun () ->
            let x = (x ()).t()
            Expect.equal (x.size (0), x.size (-1), x.dim (), x.ndim) (3L, 2L, 2L, 2L) "sizes"
            Expect.equal (x.numel (), x.NumberOfElements, x.ElementSize) (6L, 6L, 8L) "elements"
            Expect.equal (List.ofArray (x.stride ())) [ 1L; 3L ] "strides"
            Expect.isFalse (x.is_contiguous ()) "not contiguous"
            Expect.isTrue (x.contiguous().is_contiguous()) "made so"
            Expect.equal (x.ToString()) "[3x2], type = Float64, device = cpu" "as text")

        inScope "an empty tensor is a tensor" (fun () ->
            let none = torch.zeros ([| 0L; 3L |])
            Expect.equal (shape none, numbers none) ([ 0L; 3L ], []) "empty"
            Expect.equal (number (none.sum ())) 0.0 "sum"
            Expect.equal (shape (torch.cat ([| none; none |], 0L))) [ 0L; 3L ] "cat")

        inScope "sizes" (fun () ->
            let size = torch.Size([| 2L; 3L |])
            Expect.equal (size.numel (), size.Length, size[1]) (6L, 2, 3L) "read"
            Expect.isTrue ((size + torch.Size(4L)) = torch.Size([| 2L; 3L; 4L |])) "joined")

        inScope "ranges and constants" (fun () ->
            near (torch.arange (1, 7, 2)) [ 1.0; 3.0; 5.0 ] "arange"
            near (torch.linspace (0.0, 1.0, 3L, torch.float64)) [ 0.0; 0.5; 1.0 ] "linspace"
            near (torch.eye (2L)) [ 1.0; 0.0; 0.0; 1.0 ] "eye"
            near (torch.full ([| 2L |], scalar 3.0)) [ 3.0; 3.0 ] "full"
            near (torch.full_like (torch.zeros (2), scalar 2.0)) [ 2.0; 2.0 ] "full_like"
            near (torch.zeros_like (torch.ones (2))) [ 0.0; 0.0 ] "zeros_like"
            near (torch.ones_like (torch.zeros (2))) [ 1.0; 1.0 ] "ones_like"
            Expect.equal (torch.empty([| 2L; 3L |]).numel()) 6L "empty")
    ]
