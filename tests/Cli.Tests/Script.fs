/// The F# script that the README shows runs as it stands.
module Script

open System.IO
open System.Text.RegularExpressions
open Expecto
open User

let private prints () =
    use folder = new Folder()
    use child = startDotnet [] folder [ "fsi"; Path.Combine(root.Value, "samples/pretrain.fsx") ]
    let outcome = finish child
    let lines = Regex.Matches(outcome.Output, @"(?m)^(\S+) +(\d+\.\d) %$")

    Expect.equal (outcome.Code, outcome.Complaint) (0, "") "it ends well"
    Expect.equal (Regex.Matches(outcome.Output, "(?m)^step ").Count) 8 "a line a step"

    Expect.equal
        [ for line in lines -> line.Groups[1].Value ]
        [ "clean"; "fgsm"; "pgd-20:0.125" ]
        "accuracies"
    let shares = [ for line in lines -> float line.Groups[2].Value ]
    Expect.equal shares (List.sortDescending shares) "attacks only harm"

let tests = testList "Script" [ testCase "samples/pretrain.fsx prints its accuracies" prints ]
