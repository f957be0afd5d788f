/// That no reference value lies about unused without saying so.
module Tests.Golden.GoldenTests

open Expecto
open Support.Laws
open Support

[<Tests>]
let tests =
    testList "Golden.Golden" [
        test "every reference case is of something that is tested here" (fun () ->
            let tested = [
                "apgd"
                "apgd_l1"
                "apgd_schedule"
                "attack acl.pgd"
                "attack clae.fgsm.plain"
                "attack clae.fgsm.simclr"
                "attack clae.fgsm.uel"
                "attack rocl.pgd"
                "loss dynacl"
                "attack mart.attack"
                "attack trades.attack"
                "attack deacl.pgd"
                "ball_projection"
                "cw_l2"
                "fab"
                "fgsm"
                "hyperplane_projection"
                "loss"
                "loss acl.ds"
                "loss mart"
                "loss air"
                "loss deacl"
                "loss advcl.base"
                "loss ainfonce.advcl.hn"
                "loss ainfonce.advcl.ip"
                "loss ainfonce.advcl.ip-hn"
                "loss ainfonce.advcl.no-ip"
                "loss ainfonce.rocl.hn"
                "loss ainfonce.rocl.ip"
                "loss ainfonce.rocl.ip-hn"
                "loss clead.one-sided"
                "loss clead.two-attacks"
                "loss npair.plain"
                "loss ntxent.acl"
                "loss ntxent.clae"
                "loss rocl.base"
                "loss rocl.pair"
                "loss spread.uel"
                "loss trades"
                "mart"
                "mi_fgsm"
                "optimiser lars.acl"
                "optimiser lars.solo"
                "pgd"
                "square_bump"
                "square_schedule"
                "trades"
            ]

            Expect.equal (GoldenValues.subjects ()) (List.sort tested) "subjects of the reference files")
    ]
