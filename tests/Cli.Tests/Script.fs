/// The F# scripts that the README shows run as they stand.
module Script

open System.IO
open System.Text.RegularExpressions
open Expecto
open AdvContrast.Testing
open User

let private run script =
    use folder = new Folder()
    let outcome = finish (startDotnet [] folder [ "fsi"; Path.Combine(root.Value, "samples", script) ])
    Expect.equal (outcome.Code, outcome.Complaint) (0, "") "it ends well"
    Expect.equal (Regex.Matches(outcome.Output, "(?m)^step ").Count) 8 "a line a step"
    outcome.Output

let private prints () =
    let lines = Regex.Matches(run "pretrain.fsx", @"(?m)^(\S+) +(\d+\.\d) %$")

    Expect.equal
        [ for line in lines -> line.Groups[1].Value ]
        [ "clean"; "fgsm"; "pgd-20:0.125" ]
        "accuracies"
    let shares = [ for line in lines -> float line.Groups[2].Value ]
    Expect.equal shares (List.sortDescending shares) "attacks only harm"

let private composes () =
    let output = run "method.fsx"
    let losses = [
        for line in Regex.Matches(output, @"(?m)^step \d+: loss (\S+)$") -> float line.Groups[1].Value
    ]
    Expect.isLessThan (List.last losses) losses.Head "it learns"
    Expect.stringContains output "inferior-hard: " "its card"
    let lines = File.ReadAllLines(Path.Combine(root.Value, "samples", "method.fsx"))
    Expect.isLessThan lines.Length 41 "lines of the script"

[<Tests>]
let tests =
    testList "Script" [
        testCase "samples/pretrain.fsx prints its accuracies" prints
        testCase "samples/method.fsx trains a method of its own" composes
    ]
