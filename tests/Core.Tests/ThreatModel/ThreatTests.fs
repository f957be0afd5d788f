/// Threats as text.
module Tests.ThreatModel.ThreatTests

open Expecto
open FsCheck
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Testing
open Support.Laws

let private read text = Expect.wantOk (Threat.parse text) text

let private norms = [ "linf", Linf; "l2", L2; "l1", L1 ]

[<Tests>]
let tests =
    testList "ThreatModel.Threat" [
        testTheory
            "a norm and a number or a fraction"
            [
                "linf:8/255", Linf, 8.0 / 255.0
                "linf:0.1", Linf, 0.1
                "LINF:1", Linf, 1.0
                "l2:0.5", L2, 0.5
                "L1:12", L1, 12.0
                "l2:1e-3", L2, 1e-3
                "l1:0", L1, 0.0
                "linf:0/255", Linf, 0.0
            ]
            (fun (text, norm, radius) ->
                Expect.equal (read text) { Norm = norm; Radius = radius; Box = Some(0.0, 1.0) } text)

        testProperty "text and parse undo each other, exactly" (fun (index: byte) (NormalFloat radius) ->
            let name, norm = norms[int index % 3]
            let threat = Threat.create norm (abs radius)
            let text = Threat.text threat
            Expect.equal (read text) threat "parse after text"
            Expect.equal (Threat.text (read text)) text "text after parse"
            Expect.stringStarts text (name + ":") "the norm's name")

        testProperty
            "a threat in another box has the box in its text, and comes back, exactly"
            (fun (index: byte) (NormalFloat radius) (NormalFloat face) (PositiveInt width) ->
                let threat = Threat.create (snd norms[int index % 3]) (abs radius)

                for threat in [ Threat.boxed face (face + float width) threat; Threat.unbounded threat ] do
                    Expect.equal (read (Threat.text threat)) threat "parse after text"
                    let parts = (Threat.text threat).Split ':'
                    Expect.hasLength parts 4 "norm, radius and two faces"
                    let usual = { threat with Box = Some(0.0, 1.0) }
                    Expect.equal (Threat.label threat) (Threat.label usual) "the label is the ball's")

        test "boxes as text" (fun () ->
            Expect.equal (read "linf:8/255:-1:1").Box (Some(-1.0, 1.0)) "another"
            Expect.equal (read "l2:0.5:0:255").Box (Some(0.0, 255.0)) "bytes"
            Expect.equal (read "l1:2:-inf:inf").Box None "none"
            Expect.equal (read "linf:0.1:0:1") (Threat.create Linf 0.1) "the usual one")

        testTheory
            "a range is from low to high"
            [ 1.0, 1.0; 1.0, 0.0; nan, 1.0; 0.0, infinity ]
            (fun (low, high) ->
                refuses
                    [ "range" ]
                    (fun () -> Threat.boxed low high (Threat.create L2 1.0) |> ignore)
                    "range")

        testProperty
            "the label says whole levels of 255 in Linf as such, else four digits"
            (fun (index: byte) (level: byte) (NormalFloat radius) ->
                let norm = snd norms[int index % 3]
                let levels = Threat.create Linf (float level / 255.0)
                let expected = if level = 0uy then "linf:0" else sprintf "linf:%d/255" level
                Expect.equal (Threat.label levels) expected "whole levels"
                Expect.equal (Threat.label (Threat.create L2 2.0)) "l2:2" "no levels of a length"
                let threat = Threat.create norm (abs radius)
                let labelled = (read (Threat.label threat)).Radius
                Expect.isLessThanOrEqual (abs (labelled - threat.Radius)) 5.1e-5 "true to four digits")

        testTheory
            "what is no threat is refused with the option's name and the piece at fault"
            [
                "", "''"
                "linf", "'linf'"
                "0.1", "'0.1'"
                "linf:0.1:2", "'linf:0.1:2'"
                "linf:", "''"
                "linf:-0.1", "'-0.1'"
                "linf:much", "'much'"
                "linf:nan", "'nan'"
                "linf:Infinity", "'Infinity'"
                "linf:1/0", "'1/0'"
                "linf:1/-2", "'1/-2'"
                "linf:8/255/2", "'8/255/2'"
                "linf:/255", "'/255'"
                "linf:1e308/1e-308", "'1e308/1e-308'"
                "l2:0,5", "'0,5'"
                "l3:0.1", "'l3'"
                "linf:0.1:1:0", "'1:0'"
                "linf:0.1:1:1", "'1:1'"
                "linf:0.1:-inf:1", "'-inf:1'"
                "linf:0.1:0:much", "'0:much'"
                "linf:0.1:nan:1", "'nan:1'"
                "linf:0.1:0:1:2", "'linf:0.1:0:1:2'"
                "linf:x:0:1", "'x'"
                ":0.1", "''"
            ]
            (fun (text, piece) ->
                match wantError (Threat.parse text) text with
                | Error.BadOption(name, problem) ->
                    Expect.equal name "--threat" "the option"
                    Expect.stringContains problem piece "the piece at fault"
                | other -> failtestf "another kind of error: %A" other)

        testTheory "a radius is a number from 0 up" [ -1e-9; nan; infinity ] (fun radius ->
            refuses [ "radius" ] (fun () -> Threat.create L2 radius |> ignore) "radius")
    ]
