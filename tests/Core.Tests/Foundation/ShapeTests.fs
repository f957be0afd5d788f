/// Checks of arguments.
module Tests.Foundation.ShapeTests

open Expecto
open FsCheck
open TorchSharp
open AdvContrast.Core.Foundation
open Support.Arrays
open Support.Laws

let private sized (shape: int list) = torch.zeros (shape |> List.map int64 |> Array.ofList)

[<Tests>]
let tests =
    testList "Foundation.Shape" [
        testProperty
            "a tensor is refused where its rank is not the pattern's, with name, pattern and sizes"
            (fun (sizes: byte list) ->
                balanced (fun () ->
                    let shape = sizes |> List.truncate 5 |> List.map (fun size -> int size % 4)
                    let x = sized shape

                    for pattern in [ "n"; "n;d"; "n;c;h;w" ] do
                        let check () = Shape.rank pattern "images" x

                        if pattern.Split(';').Length = shape.Length then
                            check ()
                        else
                            let given = System.String.Join("; ", shape)
                            refuses
                                [ "images"; "[" + pattern.Replace(";", "; ") + "]"; "[" + given + "]" ]
                                check
                                pattern))

        test "two shapes are refused where they differ, both named" (fun () ->
            Shape.same "a" (sized [ 2; 3 ]) "b" (sized [ 2; 3 ])
            let check () = Shape.same "a" (sized [ 2; 3 ]) "b" (sized [ 3; 2 ])
            refuses [ "a"; "b"; "[2; 3]"; "[3; 2]" ] check "shapes")

        testProperty "numbers have bounds" (fun (x: float) ->
            let accepts check =
                try
                    check "radius" x
                    true
                with :? System.ArgumentException as e ->
                    Expect.stringContains e.Message "radius" "its name"
                    false

            let finite = System.Double.IsFinite x
            accepts Shape.positive = (finite && x > 0.0) && accepts Shape.nonNegative = (finite && x >= 0.0))

        testProperty
            "a value a sample spreads over what belongs to the sample"
            (fun (seed: int) (PositiveInt n) ->
                balanced (fun () ->
                    let source = Source seed
                    let n = 1 + n % 4
                    let x = tensor [ n; 2; 3 ] (source.Normals(6 * n))
                    let values = source.Normals n
                    let expected = Array.map2 times values (rows x) |> Array.concat
                    close 1e-12 (floats (x * Shape.perSample x (tensor [ n ] values))) expected "product"))
    ]
